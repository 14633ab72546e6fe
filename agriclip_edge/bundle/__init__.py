"""The bundle, one verified folder or zip that holds a model: the contract of ``docs/bundle-format.md``."""
