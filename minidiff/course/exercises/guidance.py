"""Exercises of chapter 07, `guidance`."""

from minidiff.course.check import Exercise

EXERCISES: list[Exercise] = []
