"""The paper: criticality, selection, fine-tuning and interpolation, one file each."""
