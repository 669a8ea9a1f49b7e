"""What is trained: student, teacher, heads, and their parameters."""
