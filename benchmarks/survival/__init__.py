"""Trainings that are killed, lose power or fail, and go on."""
