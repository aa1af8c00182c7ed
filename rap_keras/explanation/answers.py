"""What was found out about a sample: relevance, and the figures that belong to it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rap_keras.basics.wording import counted, listed
from rap_keras.explanation.photos_and_arrays import Sample
from rap_keras.explanation.words import Part, Word, summed
from rap_keras.hosts.titles import title

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from rap_keras.visualization.coloured_words import Line
    from rap_keras.visualization.colours import Style


class _Pictured:
    """What is shown in one figure."""

    def figure(self, **options: Any) -> Figure:
        """The photo or sample and its relevance as a `matplotlib.figure.Figure`; options as `save` takes them.

        Several explanations have a row for each class and a column for each method; those of texts are below each
        other.
        """
        return _figure_of(_each(self), **options)

    def show(self, **options: Any) -> None:
        """Shows the figure in a notebook, or else in the viewer for pictures; options as for `save`.

        Words of a text are printed in their colours, unless in a notebook.
        """
        from rap_keras.visualization import display

        if self._is_of_text() and not display.in_notebook():
            print(_printed(_each(self), **options))
            return
        display.display(self.figure(**options))

    def save(self, path: str | Path, dpi: float = 300, **options: Any) -> None:
        """Writes the figure to a file.

        Examples:
            >>> explanation.save("figure.pdf", width=3.3)  # one column of a paper, 8 pt, fonts embedded

        Args:
            path: Ends in .pdf, .svg, .png, or another format of matplotlib; for texts also .html. Missing
                folders are made.
            dpi: Dots per inch of pictures.
            **options: scale, absolute, overlay, colormap, width and font_size, as `visualization.picture` has
                them.

        Raises:
            OSError: The file cannot be written.
            TypeError: There is no such option.
            ValueError: There is no such format, an option is out of range, or relevance is not finite.
        """
        from rap_keras import visualization
        from rap_keras.basics import whole_file
        from rap_keras.visualization.coloured_words import as_page

        if self._is_of_text() and Path(path).suffix.lower() in (".html", ".htm"):
            whole_file.write(Path(path), as_page(*_lines(_each(self), **options)).encode("utf-8"))
            return
        visualization.save(self.figure(**options), path, dpi)

    def __str__(self) -> str:
        return _printed(_each(self)) if self._is_of_text() else repr(self)

    def _is_of_text(self) -> bool:
        return any(answer.sample.sentence for answer in _each(self))

    def _repr_html_(self) -> str:
        import html

        from rap_keras.visualization import display
        from rap_keras.visualization.coloured_words import as_html

        answers = _each(self)
        if self._is_of_text():
            return as_html(*_lines(answers))
        text = "<br>".join(html.escape(repr(answer)[1:-1]) for answer in answers)
        return f"<div>{display.as_html(self.figure(), repr(Explanations(answers)))}<br><small>{text}</small></div>"


@dataclass(frozen=True, repr=False, eq=False)
class Explanation(_Pictured):
    """Why a network scores one class as it does, by one method.

    Attributes:
        method: The name of the method.
        target: The number of the class.
        label: The name of the class; "class 3" where the classes have no names. Of a regression "output", or
            "output 3" where there are several.
        against: The name of the class which it is compared with, or None.
        logit: The logit of the class; of a map, the sum of its logits at `places`.
        probability: The probability of the class, or None where the network makes none of its logits.
        score: What the method shares out: the logit, and for contrastive methods the logit minus the mean of the
            others, weighted by their softmax, or minus that of `against`; for Integrated Gradients the logit minus
            that of an input of zeros. None for methods that share out nothing, such as the gradient.
        places: Where a map was explained, boolean, in the shape of its places; None for other networks.
        relevances: Relevance at each input, by the name of the input, in the shape of the sample, float32.
        sample: What was explained.
        milliseconds: The time that the method took. The first sample's includes building its graph.
        quantity: What `logit` is: "logit", or "value" for an output of a regression, which has no classes.
        lost_at: The layers at which RAP lost relevance, as text; "" where it lost none.
    """

    method: str
    target: int
    label: str
    against: str | None
    logit: float
    probability: float | None
    score: float | None
    places: np.ndarray | None
    relevances: dict[str, np.ndarray]
    sample: Sample
    milliseconds: float
    quantity: str = "logit"
    lost_at: str = ""

    @property
    def relevance(self) -> np.ndarray | dict[str, np.ndarray]:
        """Relevance in the shape of the sample, (H, W, channels) for images; for several inputs a dict by name."""
        return next(iter(self.relevances.values())) if len(self.relevances) == 1 else self.relevances

    @property
    def sum(self) -> float:
        """The sum of all relevance; for RAP it is the logit."""
        return float(sum(values.sum(dtype=float) for values in self.relevances.values()))

    @property
    def lost(self) -> float | None:
        """The part of the score that does not arrive at the input, or None where there is no score.

        For RAP this is rounding, and what a layer has whose inputs are all zero, so that only its bias speaks:
        `lost_at` names it. For contrastive RAP it is also what the biases of the network's head hold, and for LRP
        what any bias takes. For Integrated Gradients it shrinks with more steps.
        """
        return None if self.score is None else self.score - self.sum

    @property
    def words(self) -> list[Word]:
        """The words of a text and the sums of their tokens' relevance, in their order; empty for other samples."""
        return self._summed(self.sample.sentence.words) if self.sample.sentence else []

    @property
    def apart(self) -> list[Word]:
        """What else of a text has relevance: special tokens, padding and other inputs of the network.

        With that of `words` it adds up to `sum`.
        """
        sentence = self.sample.sentence
        if sentence is None:
            return []
        others = {name: values for name, values in self.relevances.items() if name != sentence.input}
        found = [Word(name, float(values.sum(dtype=float))) for name, values in others.items() if values.any()]
        return [*self._summed(sentence.apart), *found]

    @property
    def baseline(self) -> str:
        """What Integrated Gradients compare the tokens of a text with; "" for other methods and samples."""
        sentence = self.sample.sentence
        return sentence.baseline if sentence and self.method == "integrated_gradients" else ""

    def _summed(self, parts: Sequence[Part]) -> list[Word]:
        return summed(parts, self.relevances[self.sample.sentence.input]) if self.sample.sentence else []

    def of_places(self) -> str:
        """How many places of a map it is about, and "" for other networks."""
        return "" if self.places is None else f"{self.places.sum()} of {counted(self.places.size, 'place')}"

    def own_score(self) -> str:
        """The score as text where it is not the logit, as for contrastive methods; else ""."""
        return "" if self.score in (None, self.logit) else f"{self.score:.6g}"

    def is_finite(self) -> bool:
        """Whether neither the logit nor any relevance is NaN or infinite."""
        import numpy as np

        return bool(np.isfinite(self.logit)) and all(
            bool(np.isfinite(values).all()) for values in self.relevances.values()
        )

    def is_empty(self) -> bool:
        """Whether all relevance is 0."""
        return not any(values.any() for values in self.relevances.values())

    def __repr__(self) -> str:
        probability = "" if self.probability is None else f", probability {self.probability:.4g}"
        against = "" if self.against is None else f" against {self.against!r}"
        some = ", some" if self.method.endswith(".contrastive") else ""  # besides what the head's biases add
        at = f"{some} at {self.lost_at}" if self.lost_at else ""
        lost = "" if self.lost is None else f" ({abs(self.lost):.2g} {'lost' if self.lost >= 0 else 'gained'}{at})"
        turned = f", {_turned(self)}" if _is_turned(self) else ""
        score = f", score {self.own_score()}" if self.own_score() else ""
        prepared = "".join(f", {told}" for told in (self.baseline, self.sample.prepared) if told)
        return (
            f"<{title(self.method)} of {self.label!r}{against}: {self.quantity} {self.logit:.6g}{probability}"
            f"{score}, relevance sums to {self.sum:.6g}{lost}{turned}{prepared}>"
        )


class Explanations(_Pictured, tuple[Explanation, ...]):
    """Explanations by several methods, of several classes or of several texts, with one figure for all."""

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name in {*Explanation.__dataclass_fields__, *vars(Explanation)}:
            hint = f": it holds {len(self)}, so take one, such as explanations[0].{name}"
        raise AttributeError(f"Explanations has no attribute {name!r}{hint}")

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'explanation')}: " + ", ".join(repr(answer)[1:-1] for answer in self) + ">"


def _each(answers: Any) -> Sequence[Explanation]:
    return [answers] if isinstance(answers, Explanation) else answers


def by_target(answers: Sequence[Explanation]) -> list[list[Explanation]]:
    """The answers about each class, in their order."""
    targets = dict.fromkeys(answer.target for answer in answers)
    return [[answer for answer in answers if answer.target == target] for target in targets]


def _style(options: dict[str, Any]) -> Style:
    """The options of a figure; raises TypeError if there is no such option, ValueError if one is out of range."""
    from rap_keras.visualization.colours import Style

    unknown = [name for name in options if name not in Style._fields]
    if unknown:
        raise TypeError(f"figures have no option {listed(unknown, 'or')}: there are {listed(Style._fields)}")
    return Style(**options).checked()


def _lines(answers: Sequence[Explanation], **options: Any) -> tuple[list[Line], Style, tuple[str, str]]:
    """The words of texts as they are drawn, and what their colours mean."""
    from rap_keras.visualization.coloured_words import Line
    from rap_keras.visualization.display import require_no_overlay
    from rap_keras.visualization.image_figures import meaning

    style = _style(options)
    require_no_overlay(style)
    several = len({answer.sample.name for answer in answers}) > 1
    heads = [f"{answer.sample.name}: " * several + title(answer.method) for answer in answers]
    labels = [f"{head}, {_label_of([answer], in_one_line=True)}" for head, answer in zip(heads, answers)]
    lines = [Line(label, answer.words, answer.apart) for label, answer in zip(labels, answers)]
    names, is_turned = [title(answer.method) for answer in answers], any(map(_is_turned, answers))
    return lines, style, meaning(names, style, is_turned)


def _printed(answers: Sequence[Explanation], **options: Any) -> str:
    """What is printed of texts, in colours if standard output is a terminal."""
    import sys

    from rap_keras.visualization.coloured_words import as_text, has_colours

    lines, style, _ = _lines(answers, **options)
    several = len({answer.sample.name for answer in answers}) > 1
    titles = [f"{answer.sample.name}: " * several + repr(answer)[1:-1] for answer in answers]
    told = [line._replace(title=title) for line, title in zip(lines, titles)]
    return as_text(told, style, has_colours(sys.stdout))


def _figure_of(answers: Sequence[Explanation], **options: Any) -> Figure:
    """A row for each class and a column for each method, beside the photo or in the shape of the sample.

    A heatmap that is not finite is drawn empty. The options are those of `visualization.colours.Style`.

    Raises:
        TypeError: there is no such option.
        ValueError: an option is out of range.
    """
    import numpy as np

    from rap_keras.visualization import coloured_words
    from rap_keras.visualization.display import require_no_overlay
    from rap_keras.visualization.image_figures import Row, drawn
    from rap_keras.visualization.sample_pictures import Cell, stacked

    style, sample, rows = _style(options), answers[0].sample, by_target(answers)
    if sample.sentence is not None:
        return coloured_words.figure(*_lines(answers, **options))
    if sample.photo is not None:
        labels = [_label_of(row, in_one_line=len(rows) == 1) for row in rows]
        maps = [{title(answer.method): _heatmap(answer) for answer in row} for row in rows]
        return drawn(
            [Row(label, sample.photo / 255, of_row) for label, of_row in zip(labels, maps)],
            style,
            is_turned=any(map(_is_turned, answers)),
        )
    require_no_overlay(style)

    def cell(answer: Explanation, name: str) -> Cell:
        words = [title(answer.method), *[name] * (len(sample.inputs) > 1), _label_of([answer], in_one_line=True)]
        return Cell(", ".join(words), sample.inputs[name][0], np.asarray(answer.relevances[name]))

    return stacked([[cell(answer, name) for answer in row] for row in rows for name in sample.inputs], style)


def _heatmap(answer: Explanation) -> np.ndarray:
    import numpy as np

    from rap_keras.visualization import heatmap

    (relevance,) = answer.relevances.values()
    return heatmap(relevance if answer.is_finite() else np.zeros_like(relevance))


def _is_turned(answer: Explanation) -> bool:
    """Whether the relevance sums to a negative logit, so that all its signs are the other way round."""
    return answer.logit < 0 and answer.score == answer.logit and not answer.method.endswith(".contrastive")


def _short(name: str) -> str:
    """A class's name in lines that a figure has room for, such as ImageNet's of several synonyms."""
    return "\n".join(textwrap.wrap(name, 20, max_lines=2, placeholder=" ...")) or name


def _label_of(row: Sequence[Explanation], in_one_line: bool) -> str:
    """What stands beside the heatmaps of one class, or above: its name, logit and probability, what is unusual."""
    first = row[0]
    names = [_short(name) for name in (first.label, first.against) if name is not None]
    parts = ["\nagainst ".join(names)]
    if first.places is not None:
        parts += [first.of_places(), f"sum of {first.quantity}s {first.logit:.4g}"]
    else:
        parts.append(f"{first.quantity} {first.logit:.4g}")
    if first.probability is not None:
        parts.append(f"probability {first.probability:.2g}")
    turned = [answer for answer in row if _is_turned(answer)]
    if turned:
        only = "" if len(turned) == len(row) else f"\n{textwrap.fill(f'in {_methods(turned)}', 24)}"
        parts.append(_turned(first).replace(": ", ":\n") + only)
    parts += [first.sample.note, first.baseline, first.sample.prepared]
    empty = [answer for answer in row if answer.is_empty()]
    if empty:
        parts.append(f"no relevance:\n{textwrap.fill(_methods(empty), 24)}")
    found = filter(None, parts)
    return ", ".join(part.replace("\n", " ") for part in found) if in_one_line else "\n".join(found)


def _methods(answers: Sequence[Explanation]) -> str:
    return listed(title(answer.method) for answer in answers)


def _turned(answer: Explanation) -> str:
    return f"negative {answer.quantity}: blue is relevant"
