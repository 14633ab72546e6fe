"""The model card, made from the records of a run: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.answers import APART, COVERAGE, KEPT, Trust, calibration_error, coverage_risk, reliability
from training.answers_picture import coverage_risk_picture, reliability_picture
from training.data import Task
from training.results import Results, calibration_of
from training.robustness import Robustness

from .image_encoder import ImageGraph
from .text_encoder import TextGraph
from .variants import Made

RELIABILITY_FILE = "card/reliability.svg"
RISK_FILE = "card/coverage-risk.svg"


@dataclass(frozen=True)
class Facts:
    """Everything that the card tells.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        run: description of the training run.
        judged: the record that the temperature comes from.
        records: all records of the model.
        image: the image encoder's graph.
        text: the text encoder's graph.
        prompts: number of prompts that the text encoder was compared on.
        made: the image encoder's variants with their figures.
        robustness: accuracy under field corruptions, by the encoder in float.
    """

    name: str
    version: str
    run: Mapping[str, Any]
    judged: Results
    records: Sequence[Results]
    image: ImageGraph
    text: TextGraph
    prompts: int
    made: Made
    robustness: Robustness


def model_card(facts: Facts) -> str:
    """The card in Markdown."""
    sections = [_purpose(facts), _accuracy(facts), _calibration(facts), _robustness(facts.robustness), _limits(facts)]
    sections += [_recipe(facts), _export(facts)]
    return "\n\n".join([*sections, _data(_trained_tasks(facts)), _licences()]) + "\n"


def _collections(facts: Facts) -> tuple[str, ...]:
    """What the run was trained on."""
    return tuple(facts.run["config"].get("collections", ())) or (facts.judged.collection,)


def _trained_tasks(facts: Facts) -> list[Task]:
    """The tasks of these collections, as far as they were judged."""
    records = {record.collection: record for record in (*facts.records, facts.judged)}
    return [task for name in _collections(facts) if name in records for task in records[name].tasks]


def _purpose(facts: Facts) -> str:
    classes = len({entry.label for task in facts.judged.tasks for entry in task.classes})
    return f"""# {facts.name} {facts.version}

Names what an agricultural photo shows by comparing it with labels in words. The image encoder is EfficientNet-Lite0
with a linear head; the text encoder is all-MiniLM-L6-v2, whose space of sentences was kept as it is while the image
encoder learnt to place photos in it. Inside are label packs, {len(facts.judged.tasks)} of them with {classes} labels
judged below; labels in other words can be typed, and are looked up in a library of facts on what is seen of a class.

Meant for: sorting and searching field photos, a first opinion in an app, on a robot or a drone, without a network.
Not meant for: decisions on treatment, trade or food safety without a person who looks again."""


def _accuracy(facts: Facts) -> str:
    parts = [
        "## Accuracy",
        "Mean per-class accuracy, each photo choosing among its own task's labels; chance beside it.",
    ]
    for record in facts.records:
        trained = record.collection in _collections(facts)
        kind = "photos held apart from training" if trained else "tasks that were never trained on"
        parts.append(f"### {record.collection}, {record.split}: {kind}")
        parts.append(_table(record))
        labels, mean = record.among_all.results[0].classes, 100 * record.among_all.mean
        parts.append(f"With all {labels} labels offered at once, the plain mean over tasks is {mean:.1f} %.")
    return "\n\n".join(parts)


def _table(record: Results) -> str:
    titles = {task.name: task.title for task in record.tasks}
    lines = ["| task | photos | labels | chance, % | accuracy, % |", "|---|---:|---:|---:|---:|"]
    for result in record.table.results:
        figures = f"{100 * result.chance:.1f} | {100 * result.accuracy:.1f}"
        lines.append(f"| {titles[result.task]} | {result.photos} | {result.classes} | {figures} |")
    photos = sum(result.photos for result in record.table.results)
    mean = f"{100 * record.table.chance:.1f} | {100 * record.table.mean:.1f}"
    return "\n".join([*lines, f"| **plain mean over tasks** | {photos} | | {mean} |"])


def _calibration(facts: Facts) -> str:
    trust = shipped_trust(facts.made)
    if trust is not None:
        return _trust(trust, facts)
    calibration = calibration_of(facts.judged)
    return f"""## Calibration

One softmax temperature for all packs, {calibration.temperature:.4f}, of least negative log-likelihood on the
{facts.judged.split} photos of {facts.judged.collection} with each photo's own task's labels to choose among; no other
number was chosen on these photos. Each half of them judged with the other half's temperature: expected calibration
error {100 * calibration.calibration_error:.1f} %, with the labels of all packs offered at once
{100 * calibration.among_all_error:.1f} %; negative log-likelihood {calibration.likelihood_loss:.3f} nats.
Confidences hold for photos like those of the listed tasks; among typed labels they only rank."""


def shipped_trust(made: Made) -> Trust | None:
    """How far the answers of the preferred variant can be trusted: its packs' temperatures and thresholds ship."""
    return next((made.trust[variant.name] for variant in made.variants if variant.name in made.trust), None)


def card_pictures(trust: Trust) -> dict[str, str]:
    """The card's pictures by path in the bundle, as SVG."""
    return {
        RELIABILITY_FILE: reliability_picture(reliability(trust.confidence, trust.right)),
        RISK_FILE: coverage_risk_picture(coverage_risk(trust.confidence, trust.right)),
    }


def _trust(trust: Trust, facts: Facts) -> str:
    among = f"{facts.judged.split} photos of {facts.judged.collection}"
    pooled = calibration_error(trust.confidence, trust.right)
    lines = [
        "| pack | photos | calibration error, % | by chance, % | AUROC, none of these | right, % "
        f"| right of the surest {COVERAGE:.0%}, % | answered, % | right of these, % | others told apart, % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in trust.packs:
        shares = (one.accuracy, one.selective, one.answered, one.answered_right, one.rejected)
        figures = " | ".join(f"{100 * share:.1f}" for share in shares)
        errors = f"{100 * one.error:.1f} | {100 * one.chance_error:.1f} | {one.auroc:.4f}"
        lines.append(f"| {one.pack} | {one.photos} | {errors} | {figures} |")
    means = " | ".join(
        f"{100 * trust.mean(name):.1f}" for name in ("accuracy", "selective", "answered", "answered_right", "rejected")
    )
    errors = f"{100 * trust.mean('error'):.1f} | {100 * trust.mean('chance_error'):.1f} | {trust.mean('auroc'):.4f}"
    lines.append(f"| **plain mean over packs** | {len(trust.right)} | {errors} | {means} |")
    table = "\n".join(lines)
    return f"""## Calibration, and none of these

Temperature, threshold and least cosine of each pack were fitted on the {among}, through the preferred variant as it
ships. The figures are cross-fitted: fitted on four fifths of the photos, judged on the fifth. Calibration error is by
bins of equal mass; that of few photos is not 0 even for probabilities that are exactly right, what it would be then
stands beside it. Over all photos together it is {100 * pooled:.1f} %. None of these: a pack's own photos against those
of the other tasks, by the cosine of the nearest label; others told apart is the share of the latter that falls under
the least cosine, which {KEPT:.0%} of the pack's own photos reach.

{table}

![reliability diagram]({RELIABILITY_FILE}) ![risk by coverage]({RISK_FILE})

Several packs together, and labels that are typed, take the bundle's own temperature, {trust.temperature:.4f}. Other
tasks' photos come from other cameras and scenes, too: something unknown on the same leaf is told apart less often.
{_typed(trust)}"""


def _typed(trust: Trust) -> str:
    """What is known of labels that are typed."""
    typed = trust.typed
    if typed is None:
        return "Typed labels have no least cosine: a photo of none of them gets one of them all the same."
    return f"""
Typed labels take the bundle's own least cosine, {typed.unknown:.4f}: of label sets drawn from one to three tasks,
the one that {KEPT:.0%} of their photos reach, or a lower one that {APART:.0%} of other tasks' photos do not. Judged on
{typed.sets} label sets of tasks whose labels and photos fitted neither it nor the temperature: calibration error
{100 * typed.error:.1f} %, AUROC {typed.auroc:.4f}; {100 * typed.lost:.1f} % of the photos that are answered rightly
are called none of these, and {100 * typed.rejected:.1f} % of other tasks' photos. The image
encoder was trained on all these labels; among labels that it never saw confidences only rank, and many more right
answers are called none of these."""


def _robustness(found: Robustness) -> str:
    strengths = list(dict.fromkeys(one.strength for one in found.spoilt))
    headings = " | ".join(f"strength {strength:g}, %" for strength in strengths)
    lines = [f"| corruption | {headings} | over clean |", f"|---|{'---:|' * (len(strengths) + 1)}"]
    for kind, values in found.by_kind().items():
        cells = " | ".join(f"{100 * value:.1f}" for value in values)
        lines.append(f"| {kind} | {cells} | {sum(values) / len(values) / found.clean:.2f} |")
    table = "\n".join(lines)
    return f"""## Field corruptions

Mean accuracy over tasks of {found.photos} validation photos that were spoilt as they are stored, by
`training/distil/corruptions.py`; strength 1 is as bad as photos that people still send. As they are, the same photos
give {100 * found.clean:.1f} %. Over all corruptions and strengths {100 * found.over_clean:.1f} % of that is left.

{table}"""


def _limits(facts: Facts) -> str:
    untrained = [
        entry.label for task in facts.judged.tasks for entry in task.classes if entry.train == 0 and entry.val > 0
    ]
    sorted_results = sorted(facts.judged.table.results, key=lambda result: result.accuracy)
    titles = {task.name: task.title for task in facts.judged.tasks}
    weakest = "; ".join(f"{titles[r.task]} ({100 * r.accuracy:.0f} %)" for r in sorted_results[:3])
    absent = f"\n- Labels without a single training photo: {', '.join(untrained)}." if untrained else ""
    return f"""## Limits

- The weakest tasks: {weakest}.
- Several tasks are of leaves on a bench, of one farm, one shop or one camera; other places and cameras do worse.
- Small sets: a task has tens to some hundreds of validation photos, so that its figure moves by some points by chance.
- Labels typed in other words work as far as their text lies near the trained ones; expect far less than the packs.
- A photo that lies near a typed label gets it, whatever else it shows.{absent}"""


def _recipe(facts: Facts) -> str:
    config = facts.run["config"]
    lines = [f"- {name.replace('_', ' ')}: {_value(value)}" for name, value in config.items()]
    photos = sum(entry.train for task in _trained_tasks(facts) for entry in task.classes)
    named = ", ".join(_collections(facts))
    before = ", from the weights of an earlier run" if len(_collections(facts)) > 1 else ""
    return "\n".join(
        [
            "## Training",
            "",
            f"{facts.run['epochs']} epochs on the {photos:,} training photos of {named}{before}, by",
            "`python -m training encoder`; the recipe (`training/config.py` explains each line):",
            "",
            *lines,
        ]
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(f"`{item}`" if isinstance(item, str) else str(item) for item in value)
    return str(value)


def _export(facts: Facts) -> str:
    image, text = facts.image.parity, facts.text.parity
    computed = "in INT8 where that loses little" if facts.text.rounded else "in float32"
    return f"""## Export

{_variants(facts.made)}

- Image encoder in float: weights stored as float16 and computed with in float32; cosine to PyTorch at least
  {image.least:.6f} on val photos. In INT8: static, one scale for each output channel, calibrated on training photos.
- Text encoder: weights stored as INT8 with a scale for each row and computed with {computed},
  {len(facts.text.data) / 1e6:.1f} MB; cosine to PyTorch on the {facts.prompts} prompts of the packs:
  mean {text.mean:.4f}, least {text.least:.4f}; the nearest other prompt is the same for {100 * text.nearest:.1f} %.
- Checkpoint: sha256 `{facts.judged.model}`."""


def _variants(made: Made) -> str:
    lines = [
        "Each variant passed its gate (`export/budget.toml`) on the val photos, those of small tasks in up to eight",
        "views (mirrored, cut at the edges), against the encoder in float32:",
        "",
        "| variant | MB | mean cosine | 1st percentile | least | accuracy, points | worst task, points |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for variant in made.variants:
        figures, size = made.figures[variant.name], len(made.files[variant.file]) / 1e6
        name = variant.name + (" *" if figures.emulated else "")
        cosines = f"{figures.mean_cosine:.4f} | {figures.p1_cosine:.4f} | {figures.least_cosine:.4f}"
        drops = f"{0 - figures.drop_mean:+.2f} | {0 - figures.drop_task:+.2f} ({figures.worst_task})"
        lines.append(f"| {name} | {size:.1f} | {cosines} | {drops} |")
    if any(figures.emulated for figures in made.figures.values()):
        lines += ["", _EMULATED]
    return "\n".join([*lines, "", *_drops(made)])


def _drops(made: Made) -> list[str]:
    """Accuracy by task and variant, for the tasks where a variant differs from float32."""
    shown = {name: figures for name, figures in made.figures.items() if any(figures.drops.values())}
    if not shown:
        return ["No variant changes the accuracy of any task."]
    moved = [task for task in next(iter(shown.values())).drops if any(f.drops[task] for f in shown.values())]
    lines = [
        "Accuracy by task against float32, in points; tasks and variants that are not listed lose and gain nothing:",
        "",
        f"| task | {' | '.join(shown)} |",
        f"|---|{'---:|' * len(shown)}",
    ]
    for task in moved:
        cells = [f"{0 - figures.drops[task]:+.2f}" if figures.drops[task] else "0" for figures in shown.values()]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return lines


_EMULATED = """\\* The graph was run by ONNX Runtime on an x86-64 CPU, not by TensorRT or on an ARM processor: what
rounding costs is measured, speed is not. TensorRT-RTX builds the TensorRT graphs without a GPU; on a GPU,
`python -m export tensorrt --prove` measures the engines themselves."""


def _data(tasks: Sequence[Task]) -> str:
    lines = ["| task | source and commit | published upstream | licence as stated there |", "|---|---|---|---|"]
    for task in tasks:
        lines.append(f"| {task.title} | {task.source} @ {task.commit[:12]} | {task.upstream} | {task.licence} |")
    return "\n".join(["## Photos trained on", "", "None of them is in the bundle.", "", *lines])


def _licences() -> str:
    return """## Licences

EfficientNet-Lite0's ImageNet weights, all-MiniLM-L6-v2 and this bundle's own weights and packs: Apache-2.0, in
`LICENSES/`. Both former weights were changed: the first by fine-tuning, the second by rounding to INT8."""
