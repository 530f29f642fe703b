"""What to show: candidate sources, the blend, evaluation."""
