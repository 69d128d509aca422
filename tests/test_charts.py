"""Figures of attributions: well-formed, with axes, units and sample sizes; large ones stay small."""

import re
from xml.etree import ElementTree

import numpy as np

from offline.interpretation.charts import draw_attributions, draw_figures, draw_over_time, draw_randomised
from offline.interpretation.controls import Randomised
from offline.interpretation.occlusion import time_parts
from rtdecode.scoring import Figure


def figure(value, half=0.1):
    return Figure("loss", value, value - half, value + half, 0.0, 40)


def words(drawing):
    """The texts of a drawing that is well-formed."""
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter("text")]


def test_bars_are_in_order_with_what_is_measured_and_how_often():
    rows = [("C3", figure(0.2)), ("Fz", figure(0.9)), ("C4", figure(-0.1))]
    drawing = draw_figures(rows, "growth of the loss (nats)", "Channels", 40)
    told = words(drawing)
    assert [word for word in told if word in ("C3", "Fz", "C4")] == ["Fz", "C3", "C4"]
    assert "growth of the loss (nats), n = 40 trials" in told
    assert drawing.count('class="f0"') == 2 and drawing.count('class="f1"') == 1 and drawing.count("whisker") == 3


def test_of_many_the_largest_are_drawn_and_that_is_said():
    rows = [(f"MEG {i:03d}", figure(float(i))) for i in range(306)]
    drawing = draw_figures(rows, "loss (nats)", "Channels", 40)
    assert "MEG 305" in words(drawing) and "MEG 000" not in words(drawing)
    assert "282 smaller ones are not shown" in drawing


def test_figures_that_are_no_numbers_are_drawn_without_an_interval():
    drawing = draw_figures([("C3", Figure("share", 0.5, np.nan, np.nan, 0.0, 3))], "share", "Channels", 3)
    assert (
        "C3" in words(drawing)
        and "whisker" not in drawing
        and "nan" not in re.sub(r"<title>.*?</title>", "", drawing)
    )


def test_time_is_told_in_seconds_of_the_window():
    parts = time_parts(100, 4, 50.0, first_s=-1.0)
    drawing = draw_over_time(parts, [figure(0.1 * i) for i in range(4)], "loss (nats)", "Loss over time", 50.0, -1.0)
    assert "s in the window, n = 40 trials" in words(drawing) and "loss (nats)" in words(drawing)
    assert "0.5 to 1 s: 0.3" in drawing and drawing.count("whisker") == 4


def test_a_map_of_many_channels_and_samples_stays_a_page():
    values = np.random.default_rng(0).standard_normal((306, 1000))
    drawing = draw_attributions(values, [f"MEG {i}" for i in range(306)], "Left", 500.0, 30, "logits", 0.5)
    told = words(drawing)
    assert len(drawing) < 1_500_000 and "the 48 strongest of 306 channels" in told
    assert "s in the window, n = 30 windows" in told and any(word.startswith("full colour: ") for word in told)


def test_a_map_of_zeros_is_drawn_too():
    assert "E0" in words(draw_attributions(np.zeros((2, 5)), ["E0", "E1"], "Nothing", 10.0, 1, "logits"))


def test_layers_drawn_anew_come_one_after_the_other():
    found = Randomised(("fc", "demix"), np.array([[0.5, 0.6], [np.nan, np.nan]]), np.zeros((2, 2)))
    told = words(draw_randomised(found, "Layers"))
    assert told.index("fc") < told.index("+ demix") and any("n = 2 draws" in word for word in told)
