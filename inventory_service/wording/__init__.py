"""The sentences that people read, made from codes and parameters: one module for each noun, and nowhere else."""
