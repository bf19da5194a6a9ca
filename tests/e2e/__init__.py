"""Tests of the whole: the demo, the wheel, the container's recipe, a producer's view."""
