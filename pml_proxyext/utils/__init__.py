"""Input checks, the dtype policy and parameter groups: what every other room stands on."""
