"""Limits on which the model and those who encode data for it agree; imports nothing."""

AT_LIMIT = 1e-5  # model units from a limit within which a number stands for what lies beyond it
FARTHEST_SEEN = 10.0  # model units from 0, at which a number is clipped for the encoder
