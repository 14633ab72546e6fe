"""A bundle opened for reading: every byte that leaves it has been checked against the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError, BundleFault, LabelError, UsageError
from ..imaging.preprocess import PREPROCESSING_VERSION, preprocessing_id
from ..labels.pack import LabelPack
from .manifest import MAX_MANIFEST_BYTES, Manifest, PackEntry, SceneEncoder, parse_manifest
from .storage import open_storage

if TYPE_CHECKING:
    from ..drift import Reference
    from ..labels.facts import Library

DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "default_bundle"


class Bundle:
    """One model with its packs and licences: a folder or a zip file.

    Opening reads the manifest alone; each file is checked (size, sha256) when it is first wanted.

    Example:
        >>> bundle = Bundle.open()
        >>> bundle.manifest.embedding_dim
        768
    """

    def __init__(self, path: Path) -> None:
        """Open the bundle at ``path``; see `open`."""
        self.path = path
        self._storage = open_storage(path)
        try:
            data = self._storage.read("bundle.json", MAX_MANIFEST_BYTES)
        except BundleError as error:
            if error.fault is BundleFault.FILE_MISSING:
                raise BundleError(BundleFault.NOT_A_BUNDLE, f"{path} holds no bundle.json") from None
            raise
        self.manifest: Manifest = parse_manifest(data)
        self.sha256: str = hashlib.sha256(data).hexdigest()
        self._files = {entry.path: entry for entry in self.manifest.files}
        if self.manifest.preprocessing.version != PREPROCESSING_VERSION:
            found = self.manifest.preprocessing.version
            message = f"the bundle wants preprocessing version {found}; this package has {PREPROCESSING_VERSION}"
            raise BundleError(BundleFault.FORMAT_UNSUPPORTED, message)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Open a bundle: its manifest is read and checked, nothing else.

        Args:
            path: a folder or a zip file; None opens the bundle that ships with this package.

        Raises:
            BundleError: nothing there, or the manifest is broken, hostile or of another version.

        Example:
            >>> len(Bundle.open().sha256)
            64
        """
        return cls(DEFAULT_BUNDLE if path is None else Path(path))

    def read(self, path: str) -> bytes:
        """All bytes of one listed file, after its size and sha256 were checked.

        Raises:
            BundleError: the file is not listed, not there, or not the one that the manifest describes.

        Example:
            >>> bundle = Bundle.open()
            >>> bundle.read(bundle.manifest.card)[:2]
            b'# '
        """
        entry = self._files.get(path)
        if entry is None:
            raise BundleError(BundleFault.FILE_MISSING, f"{path} is not listed in bundle.json")
        data = self._storage.read(path, entry.size)
        if len(data) != entry.size:
            message = f"{path} has {len(data):,} bytes; bundle.json says {entry.size:,}"
            raise BundleError(BundleFault.SIZE_MISMATCH, message)
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            message = f"{path} has sha256 {digest[:12]}…; bundle.json says {entry.sha256[:12]}…: get the bundle again"
            raise BundleError(BundleFault.HASH_MISMATCH, message)
        return data

    def for_photos(self) -> None:
        """Refuse a bundle that knows scenes and no photos.

        Raises:
            UsageError: saying which command does.

        Example:
            >>> Bundle.open().for_photos()
        """
        scene = self.manifest.scene
        if scene is not None:
            message = f"the bundle {self.manifest.name} is for scenes ({scene.modality}), not for photos"
            raise UsageError(f"{message}: agriclip-edge classify-scene takes it")

    def for_scenes(self) -> SceneEncoder:
        """The scene encoder's entry.

        Raises:
            UsageError: the bundle knows photos and no scenes.

        Example:
            >>> Bundle.open("tests/data/scene/bundle").for_scenes().modality
            'hyperspectral+lidar'
        """
        if self.manifest.scene is None:
            message = f"the bundle {self.manifest.name} is for photos; accepted with --bundle: one for scenes"
            raise UsageError(f"{message}, as python -m export scene makes it")
        return self.manifest.scene

    def unlisted(self) -> list[str]:
        """Files that lie in the bundle without being in the manifest; nothing ever reads them."""
        return [path for path in self._storage.paths() if path != "bundle.json" and path not in self._files]

    @cached_property
    def text_encoder_id(self) -> str:
        """sha256 that names the feature space of labels: text graph, vocabulary and longest text together."""
        text = self.manifest.text
        if text is None:
            return hashlib.sha256(f"no text encoder {self.manifest.name}".encode()).hexdigest()
        parts = [self._files[text.file].sha256, self._files[text.vocabulary].sha256, str(text.max_tokens)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def preprocessing_id(self) -> str:
        """sha256 of the preprocessing that the image encoder was made with, or of the channels that a scene's takes."""
        if self.manifest.scene is not None:
            parts = [
                [m.name, m.unit, m.channels, m.wavelengths, *([m.level.share, m.level.unit_length] if m.level else [])]
                for m in self.manifest.scene.modalities
            ]
            return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return preprocessing_id(self.manifest.preprocessing.size)

    @cached_property
    def facts(self) -> Library | None:
        """The facts library, read when it is first wanted; None for a bundle without one.

        Raises:
            BundleError: it is broken.

        Example:
            >>> Bundle.open("tests/data/tiny_bundle").facts is None
            True
        """
        entry = self.manifest.facts
        if entry is None:
            return None
        from ..labels.facts import Library, read_classes, read_symptoms

        classes = read_classes(self.read(entry.file), entry.file)
        data = self.read(entry.symptoms)
        symptoms = read_symptoms(data, len(classes), self.manifest.embedding_dim, entry.symptoms)
        return Library(classes, symptoms, self._files[entry.symptoms].sha256, entry.share)

    @cached_property
    def reference(self) -> Reference | None:
        """Statistics of known photos' embeddings, read when they are first wanted; None for a bundle without them.

        Raises:
            BundleError: they are broken.

        Example:
            >>> Bundle.open("tests/data/tiny_bundle").reference is None
            True
        """
        path = self.manifest.reference
        if not path:
            return None
        from ..drift import Reference

        return Reference.from_bytes(self.read(path), self.manifest.embedding_dim, path)

    @cached_property
    def image_encoder_id(self) -> str:
        """sha256 that names the feature space of photos, or of scenes: all their graphs together."""
        scene = self.manifest.scene
        graphs = [variant.file for variant in (scene.variants if scene is not None else self.manifest.image)]
        parts = sorted({self._files[path].sha256 for path in graphs})
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def pack(self, name: str) -> LabelPack:
        """One of the bundle's own label packs, checked to belong to it.

        Raises:
            LabelError: no pack of that name.
            BundleError: the pack is broken or foreign.

        Example:
            >>> Bundle.open().pack("maize-leaf-disease").labels[0].parent
            'maize leaf'
        """
        entry = self._pack_entry(name)
        pack = LabelPack.from_bytes(self.read(entry.file), where=f"pack {name}")
        if pack.name != name:
            raise BundleError(BundleFault.PACK_INVALID, f"pack {name} names itself {pack.name!r}")
        self.accept(pack)
        return pack

    def _pack_entry(self, name: str) -> PackEntry:
        for entry in self.manifest.packs:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.manifest.packs)
        raise LabelError(f"no pack named {name!r}; the bundle has: {names}")

    def accept(self, pack: LabelPack) -> None:
        """Refuse a pack whose embeddings live in another space than this bundle's.

        Raises:
            BundleError: the pack was made with another text encoder, preprocessing, embedding size or centre.
        """
        dim = self.manifest.embedding_dim
        if pack.embeddings.shape[1] != dim:
            message = f"pack {pack.name} has embeddings of {pack.embeddings.shape[1]} values; the bundle's have {dim}"
            raise BundleError(BundleFault.PACK_SHAPE, message)
        if pack.text_encoder != self.text_encoder_id:
            message = (
                f"pack {pack.name} was made with text encoder {pack.text_encoder[:12]}…; "
                f"the bundle's is {self.text_encoder_id[:12]}…: build the pack again with this bundle"
            )
            raise BundleError(BundleFault.PACK_FOREIGN_TEXT_ENCODER, message)
        if pack.preprocessing != self.preprocessing_id:
            message = (
                f"pack {pack.name} was made for preprocessing {pack.preprocessing[:12]}…; "
                f"the bundle's is {self.preprocessing_id[:12]}…: build the pack again with this bundle"
            )
            raise BundleError(BundleFault.PACK_FOREIGN_PREPROCESSING, message)
        if pack.image_encoder and pack.image_encoder != self.image_encoder_id:
            message = (
                f"pack {pack.name} was taught with image encoder {pack.image_encoder[:12]}…; "
                f"the bundle's is {self.image_encoder_id[:12]}…: teach the photos again with this bundle"
            )
            raise BundleError(BundleFault.PACK_FOREIGN_PREPROCESSING, message)
        origin = pack.origin
        if origin is not None and (origin.image_encoder != self.image_encoder_id or self.manifest.scene is not None):
            message = (
                f"pack {pack.name} was adapted by photos of image encoder {origin.image_encoder[:12]}…; "
                f"the bundle's is {self.image_encoder_id[:12]}…: adapt it again with this bundle"
            )
            raise BundleError(BundleFault.PACK_FOREIGN_PREPROCESSING, message)
        centre = self._files[self.manifest.facts.symptoms].sha256 if self.manifest.facts is not None else ""
        if pack.centre and pack.centre != centre:
            message = (
                f"pack {pack.name} was centred with facts {pack.centre[:12]}…; "
                f"the bundle's are {centre[:12] or 'none'}…: build the pack again with this bundle"
            )
            raise BundleError(BundleFault.PACK_FOREIGN_CENTRE, message)
