"""What each figure must reach: the floor, and the aim."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One row of the table of figures.

    Attributes:
        title: what is measured.
        what: the record that holds it.
        quantity: its name among the record's medians.
        form: how a value is written, with ``{}`` for the number.
        floor: it must not be worse.
        aim: it should be no worse.
        higher_is_better: which way worse is.
    """

    title: str
    what: str
    quantity: str
    form: str
    floor: float
    aim: float
    higher_is_better: bool

    def meets(self, value: float, bound: float) -> bool:
        """Whether ``value`` is no worse than ``bound``."""
        return value >= bound if self.higher_is_better else value <= bound

    def write(self, value: float) -> str:
        """A value with its unit."""
        return self.form.format(value)


TARGETS = (
    Target(
        "mean over the 23 validation tasks of mean per-class accuracy, among the task's labels",
        "accuracy",
        "alive-mini",
        "{:.1%}",
        floor=0.828,  # a frozen EfficientNet-Lite0 and one ridge map
        aim=0.86,
        higher_is_better=True,
    ),
    Target(
        "`agriclip-edge classify one.jpg` on 12 megapixels, whole process: times faster than open_clip ViT-B-32",
        "cold-start",
        "times_faster",
        "{:.1f}×",
        floor=12,
        aim=20,
        higher_is_better=True,
    ),
    Target(
        "its peak memory: times smaller than the same",
        "cold-start",
        "times_smaller",
        "{:.1f}×",
        floor=4,
        aim=8,
        higher_is_better=True,
    ),
    Target(
        "size of the wheel with the bundle",
        "size",
        "wheel_mb",
        "{:.1f} MB",
        floor=45,
        aim=30,
        higher_is_better=False,
    ),
    Target(
        "installed size of the runtime with its dependencies",
        "size",
        "installed_mb",
        "{:.0f} MB",
        floor=250,
        aim=200,
        higher_is_better=False,
    ),
    Target(
        "throughput on 12-megapixel JPEGs with 2 workers: times a plain Pillow and ONNX Runtime loop",
        "throughput",
        "times_faster",
        "{:.2f}×",
        floor=1.5,
        aim=3,
        higher_is_better=True,
    ),
    Target(
        "memory after 20,000 photos over memory after 200",
        "memory",
        "growth",
        "{:.3f}",
        floor=1.05,
        aim=1.02,
        higher_is_better=False,
    ),
    Target(
        "`agriclip-edge packs build` with 100 typed labels, whole process",
        "typed-labels",
        "process_s",
        "{:.2f} s",
        floor=1,
        aim=1,
        higher_is_better=False,
    ),
    Target(
        "`agriclip-edge --help`, whole process",
        "help-latency",
        "help_s",
        "{:.3f} s",
        floor=0.2,
        aim=0.2,
        higher_is_better=False,
    ),
    Target(
        "ONNX Runtime INT8 of the student: times faster than open_clip ViT-B-32 in PyTorch eager",
        "peers",
        "onnxruntime_int8_times_eager",
        "{:.1f}×",
        floor=53,
        aim=60,
        higher_is_better=True,
    ),
    Target(
        "OpenVINO's best of the student: times faster than the same",
        "peers",
        "openvino_best_times_eager",
        "{:.1f}×",
        floor=61,
        aim=70,
        higher_is_better=True,
    ),
    Target(
        "the student's best: times faster than ViT-B-32's own best",
        "peers",
        "best_times_its_best",
        "{:.1f}×",
        floor=6,
        aim=10,
        higher_is_better=True,
    ),
    Target(
        "INT8 of the student: share of the machine's INT8 peak (a large oneDNN product)",
        "peers",
        "share_of_int8_peak",
        "{:.0%}",
        floor=0.19,
        aim=0.3,
        higher_is_better=True,
    ),
    Target(
        "worst photo's cosine to float32, INT8 on the CPU",
        "peers",
        "least_cosine_cpu_int8",
        "{:.3f}",
        floor=0.966,
        aim=0.985,
        higher_is_better=True,
    ),
    Target(
        "worst photo's cosine to float32, INT8 in TensorRT",
        "peers",
        "least_cosine_tensorrt_int8",
        "{:.3f}",
        floor=0.97,
        aim=0.985,
        higher_is_better=True,
    ),
    Target(
        "whole-pipeline throughput on 12-megapixel JPEGs over the decode limit alone",
        "throughput",
        "share_of_decode_limit",
        "{:.2f}",
        floor=0.9,
        aim=0.9,
        higher_is_better=True,
    ),
    Target(
        "peak memory of a classifier that answers 12-megapixel photos one by one",
        "peers",
        "classifier_peak_mb",
        "{:.0f} MB",
        floor=110,
        aim=110,
        higher_is_better=False,
    ),
    Target(
        "expected calibration error of a pack, mean over packs, cross-fitted, INT8",
        "answers",
        "calibration_error_int8",
        "{:.3f}",
        floor=0.06,
        aim=0.03,
        higher_is_better=False,
    ),
    Target(
        "mean accuracy under field corruptions (motion blur, JPEG, haze, exposure, rain, few pixels) over clean",
        "corruptions",
        "over_clean",
        "{:.3f}",
        floor=0.85,
        aim=0.85,
        higher_is_better=True,
    ),
    Target(
        "none of these: AUROC of a pack's photos against other tasks', mean over packs, INT8",
        "answers",
        "auroc_int8",
        "{:.4f}",
        floor=0.90,
        aim=0.96,
        higher_is_better=True,
    ),
    Target(
        "accuracy at 80 % coverage, mean over packs, cross-fitted, INT8",
        "answers",
        "selective_int8",
        "{:.1%}",
        floor=0.9,
        aim=0.95,
        higher_is_better=True,
    ),
    Target(
        "teacher, tasks of alive-mini (val), zero-shot, mean over tasks",
        "evaluations",
        "teacher-alive-mini-facts-zero-shot_pct",
        "{:.1f} %",
        floor=82.8,
        aim=92,
        higher_is_better=True,
    ),
    Target(
        "teacher, tasks of alive-plus (val), zero-shot, mean over tasks",
        "evaluations",
        "teacher-alive-plus-facts-zero-shot_pct",
        "{:.1f} %",
        floor=78.1,
        aim=88,
        higher_is_better=True,
    ),
    Target(
        "teacher, downstream (labels that nobody trained on), zero-shot",
        "evaluations",
        "teacher-downstream-facts-zero-shot_pct",
        "{:.1f} %",
        floor=41.3,
        aim=54,
        higher_is_better=True,
    ),
    Target(
        "teacher, downstream, 5 shots, nearest class mean",
        "evaluations",
        "teacher-downstream-facts-5-shot_pct",
        "{:.1f} %",
        floor=69.1,
        aim=78,
        higher_is_better=True,
    ),
    Target(
        "teacher, everyday photos among 30 labels, right (the floor is ImageNet's own words alone)",
        "evaluations",
        "teacher-everyday-names-zero-shot_pct",
        "{:.1f} %",
        floor=43.75,
        aim=43.75,
        higher_is_better=True,
    ),
    Target(
        "image encoder's file, INT8",
        "size",
        "encoder_int8_mb",
        "{:.2f} MB",
        floor=6,
        aim=5,
        higher_is_better=False,
    ),
    Target(
        "what INT8 loses by the export's gate, mean over tasks, points",
        "accuracy",
        "int8_drop_points",
        "{:+.2f}",
        floor=0.7,
        aim=0.3,
        higher_is_better=False,
    ),
    Target(
        "what INT8 loses by the export's gate, worst task, points",
        "accuracy",
        "int8_worst_drop_points",
        "{:+.2f}",
        floor=2.0,
        aim=1.0,
        higher_is_better=False,
    ),
    Target(
        "student, tasks of alive-mini (val), zero-shot, mean over tasks",
        "evaluations",
        "student-alive-mini-facts-zero-shot_pct",
        "{:.1f} %",
        floor=82.8,
        aim=90,
        higher_is_better=True,
    ),
    Target(
        "student, downstream, 5 shots, nearest class mean",
        "evaluations",
        "student-downstream-facts-5-shot_pct",
        "{:.1f} %",
        floor=69.1,
        aim=77,
        higher_is_better=True,
    ),
    Target(
        "student over teacher, alive-mini (val), zero-shot",
        "evaluations",
        "retention-alive-mini-facts-zero-shot_pct",
        "{:.1f} %",
        floor=95.8,
        aim=98,
        higher_is_better=True,
    ),
    Target(
        "student over teacher, downstream, zero-shot",
        "evaluations",
        "retention-downstream-facts-zero-shot_pct",
        "{:.1f} %",
        floor=82.6,
        aim=95,
        higher_is_better=True,
    ),
    Target(
        "student over teacher, downstream, 5 shots, nearest class mean",
        "evaluations",
        "retention-downstream-facts-5-shot_pct",
        "{:.1f} %",
        floor=82.6,
        aim=95,
        higher_is_better=True,
    ),
    Target(
        "student, downstream, 5 photos a class with teach, points over text alone",
        "evaluations",
        "student-downstream-facts-teach-5-shot_gain_points",
        "{:+.1f}",
        floor=28,
        aim=30,
        higher_is_better=True,
    ),
    Target(
        "what facts buy on labels left out of training, points over names alone",
        "facts",
        "facts_gain_points",
        "{:+.1f}",
        floor=4,
        aim=4,
        higher_is_better=True,
    ),
    Target(
        "scene student, idtrees: pixels of the per-pixel transformer's class",
        "fewshot",
        "idtrees-student-agreement_pct",
        "{:.1f} %",
        floor=97,
        aim=99,
        higher_is_better=True,
    ),
    Target(
        "scene student, idtrees: times as fast a pixel as the per-pixel transformer",
        "fewshot",
        "idtrees-student-speed_up",
        "{:.0f}×",
        floor=20,
        aim=100,
        higher_is_better=True,
    ),
)
