"""The commands eval, eval-sweep and eval-ctc."""
