"""The losses and what they are made of: functions of tensors."""
