"""The parent of every process of one `polyforge up`: standard library only, so that it stays small and hardly fails."""
