"""Limits on which the model and those who encode data for it agree; imports nothing."""

FARTHEST_SEEN = 10.0  # model units from 0, at which a number is clipped for the encoder
