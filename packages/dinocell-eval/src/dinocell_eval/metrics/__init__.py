"""One metric a file: its definition and its formula on sums, and the table of all."""
