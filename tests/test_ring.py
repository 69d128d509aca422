import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.ring import Features, Ring


@given(sizes=st.lists(st.integers(0, 25), max_size=30), capacity=st.integers(1, 12))
def test_window_holds_the_newest_samples(sizes, capacity):
    ring, samples = Ring(2, capacity), np.arange(2 * sum(sizes), dtype=np.float64).reshape(-1, 2)
    at = 0
    for size in sizes:
        ring.write(samples[at : at + size])
        at += size
        kept = min(at, capacity)
        for n in {1, kept} if kept else ():
            assert np.array_equal(ring.window(n), samples[at - n : at].T)
            assert np.array_equal(ring.window(n, kept - n), samples[at - kept : at - kept + n].T)


def test_window_is_a_view_contiguous_in_time():
    ring = Ring(3, 8)
    ring.write(np.ones((11, 3)))
    window = ring.window(8)
    assert window.base is not None
    assert window.strides[1] == window.itemsize


@pytest.mark.parametrize("n", [4, 9])
def test_more_than_there_is_is_refused(n):
    ring = Ring(1, 8)
    ring.write(np.ones((3, 1)))
    with pytest.raises(ValueError, match="asked for"):
        ring.window(n)


def test_clear_forgets():
    ring = Ring(1, 4)
    ring.write(np.ones((4, 1)))
    ring.clear()
    with pytest.raises(ValueError, match="0 kept"):
        ring.window(1)


@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=30),
    n_taken=st.integers(1, 6),
    stride=st.integers(1, 5),
    behind=st.integers(0, 4),
)
def test_a_window_takes_features_a_stride_apart_without_a_copy(sizes, n_taken, stride, behind):
    behind %= stride
    ring, features = Features(n_taken, 2, stride, behind), np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    at = 0
    for size in sizes:
        ring.write(features[at : at + size])
        at += size
        first = at - 1 - behind - (n_taken - 1) * stride
        if first >= 0:
            window = ring.window()
            assert np.array_equal(window, features[first : at - behind : stride])
            assert window.flags.c_contiguous and window.base is not None
