"""The parts for robomimic: its observation encoder, its demonstrations, and evaluation in its tasks, which are
robosuite's.
"""
