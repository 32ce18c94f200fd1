"""What only the notebooks need: the doctor, exercises, predictions and bets, pictures, widgets.

Nothing else imports it. This file imports nothing, so `python -m minidiff.course.start` runs on bare Python.
"""
