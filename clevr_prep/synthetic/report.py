"""Counts what a dataset holds: attributes, objects per image, question types and answers.

Of referring expressions it counts in which ninth of the image the box has its centre.
"""

from collections import Counter

from clevr_prep.clevr.programs import question_type
from clevr_prep.clevr.scene_masks import ATTRIBUTES

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def _place(box: list[int], width: int, height: int) -> str:
    x, y, w, h = box
    row, column = int(3 * (y + (h - 1) / 2) / height), int(3 * (x + (w - 1) / 2) / width)
    return f"{_ROWS[row]} {_COLUMNS[column]}"


class Report:
    """Running distributions over the scenes and questions of a split."""

    def __init__(self):
        self.counts: dict[str, Counter] = {"objects per image": Counter()}
        self.counts |= {
            name: Counter() for name in (*ATTRIBUTES, "question type", "answer", "box place")
        }
        self.images = self.questions = 0

    def add(self, scenes: list[dict], questions: list[dict]) -> None:
        """Count scenes and the questions about them."""
        for scene in scenes:
            self.counts["objects per image"][str(len(scene["objects"]))] += 1
            for thing in scene["objects"]:
                for name in ATTRIBUTES:
                    self.counts[name][thing[name]] += 1
        sizes = {
            scene["image_index"]: (scene["render"]["width"], scene["render"]["height"])
            for scene in scenes
            if "render" in scene
        }
        for question in questions:
            self.counts["question type"][question_type(question["program"])] += 1
            if "bbox" in question:
                size = sizes[question["image_index"]]
                self.counts["box place"][_place(question["bbox"], *size)] += 1
            else:
                self.counts["answer"][question["answer"]] += 1
        self.images += len(scenes)
        self.questions += len(questions)

    def summary(self) -> dict:
        """Everything counted, as plain dictionaries for JSON; most frequent first."""
        counts = {}
        for name, counter in self.counts.items():
            if name == "objects per image":
                counts[name] = {k: counter[k] for k in sorted(counter, key=int)}
            elif counter:
                counts[name] = {k: n for k, n in sorted(counter.items(), key=lambda p: (-p[1], p))}
        return {"images": self.images, "questions": self.questions, **counts}


def report_text(reports: dict[str, dict], width: int = 100) -> str:
    """The reports of several splits as lines of text, shares in per cent."""
    lines = []
    for split, report in reports.items():
        lines.append(f"{split}: {report['images']} images, {report['questions']} questions")
        for name, counts in report.items():
            if not isinstance(counts, dict):
                continue
            total = sum(counts.values())
            line = f"  {name}:"
            for value, count in counts.items():
                word = f" {value} {100 * count / total:.1f}%"
                if len(line) + len(word) > width:
                    lines.append(line)
                    line = "   "
                line += word
            lines.append(line)
    return "\n".join(lines)
