"""The commands pretrain and export-backbone."""
