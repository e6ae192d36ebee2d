"""Linear probe, fine-tuning, FixMatch, distillation, private kNN, evaluation."""
