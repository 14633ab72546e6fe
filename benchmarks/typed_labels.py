"""How long a pack of 100 typed labels takes, as a whole process and in the SDK."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agriclip_edge.bundle.reader import Bundle
from training.general import imagenet_names

from .environment import describe, runtime, runtime_versions
from .process import run_process
from .record import BenchmarkError, Measurement
from .rounds import Step, interleave, ratios

_SDK = """
import json, sys, time
import agriclip_edge
labels = open(sys.argv[1], encoding="utf-8").read().splitlines()
classifier = agriclip_edge.load(*sys.argv[2:])
spent = []
for _ in range(2):
    start = time.perf_counter()
    classifier.build_pack(labels)
    spent.append(time.perf_counter() - start)
print(json.dumps(spent))
"""


@dataclass(frozen=True)
class TypedConfig:
    """Which labels, and how often."""

    labels: int = 50  # as the facts library has them
    synonyms: int = 30  # other names of further classes
    unknown: int = 20  # of ImageNet's classes, which the library does not know
    rounds: int = 11
    seed: int = 0

    @classmethod
    def tiny(cls) -> TypedConfig:
        """Few labels, once."""
        return cls(labels=3, synonyms=2, unknown=1, rounds=1)


def typed(bundle: Bundle, config: TypedConfig) -> list[str]:
    """Labels as people type them: known words, other words, and words that mean nothing in the field.

    Raises:
        BenchmarkError: the bundle's facts library has fewer classes, or none.
    """
    classes = bundle.facts.classes if bundle.facts is not None else ()
    if len(classes) < config.labels + config.synonyms:
        raise BenchmarkError(f"{bundle.manifest.name} knows facts of {len(classes)} classes; accepted: more")
    generator = np.random.default_rng(config.seed)
    mixed = [classes[place] for place in generator.permutation(len(classes))]
    labels = [facts.label for facts in mixed[: config.labels]]
    synonyms = _unlike([facts.synonyms[0] for facts in mixed[config.labels :] if facts.synonyms], labels)
    labels += synonyms[: config.synonyms]
    others = imagenet_names()
    mixed_others = _unlike([others[place] for place in generator.permutation(len(others))], labels)
    return labels + mixed_others[: config.unknown]


def _unlike(words: list[str], taken: list[str]) -> list[str]:
    """The words that are not among those taken, each once: a pack has no label twice."""
    left = {word.casefold(): word for word in reversed(words)}
    return [word for word in reversed(left.values()) if word.casefold() not in {other.casefold() for other in taken}]


def measure(bundle: Path | None, step: Step, config: TypedConfig = TypedConfig()) -> Measurement:
    """Measure the installed command in turn with the SDK, and with an empty Python program.

    Args:
        bundle: the bundle; None takes the one in the installed wheel.
        step: tells how far it is.
        config: which labels, how often.

    Raises:
        BenchmarkError: the runtime environment is missing, the bundle knows too few facts, or a process fails.
    """
    opened = Bundle.open(bundle)
    words = typed(opened, config)
    command, python = runtime("agriclip-edge"), runtime("python")
    chosen = ["--bundle", str(bundle)] if bundle else []
    with tempfile.TemporaryDirectory() as folder:
        labels, pack = Path(folder) / "labels.txt", Path(folder) / "typed.safetensors"
        labels.write_text("\n".join(words), encoding="utf-8")
        given = ["--labels-file", str(labels), "--output", str(pack), "--replace", *chosen]
        sides = {
            "packs build": lambda: run_process(command, "packs", "build", "typed", *given),
            "SDK": lambda: run_process(python, "-I", "-c", _SDK, labels, *([bundle] if bundle else [])),
            "python -c pass": lambda: run_process(python, "-I", "-c", "pass"),
        }
        built, spoken, empty = interleave(sides, config.rounds, step).values()
    within = [json.loads(usage.output) for usage in spoken]
    whole, nothing = [usage.wall_s for usage in built], [usage.wall_s for usage in empty]
    return Measurement(
        method=f"{config.labels} labels of the facts library, {config.synonyms} other names of further classes and "
        f"{config.unknown} of ImageNet's names make one pack, matched to the facts and embedded through "
        f"{len(opened.manifest.text.templates) if opened.manifest.text else 0} templates. Whole processes of "
        "`agriclip-edge packs build` in turn with an empty Python program, after one warm-up round; in the "
        "SDK `build_pack` of a loaded classifier: the first call, which opens text encoder and facts, and one more.",
        samples={
            "process_s": whole,
            "process_cpu_s": [usage.cpu_s for usage in built],
            "sdk_first_s": [first for first, _ in within],
            "sdk_again_s": [again for _, again in within],
            "empty_python_s": nothing,
            "times_of_empty_python": ratios(whole, nothing),
        },
        seeds={"labels": config.seed},
        subject=describe(opened),
        packages=runtime_versions(("agriclip-edge", "numpy", "onnxruntime", "msgspec", "typer")),
    )
