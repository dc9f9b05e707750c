"""Evaluation: questions asked, answers graded, models compared."""
