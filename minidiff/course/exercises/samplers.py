"""Exercises of chapter 06, `samplers`."""

from minidiff.course.check import Exercise

EXERCISES: list[Exercise] = []
