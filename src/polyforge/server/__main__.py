"""`python -m polyforge.server`: a gateway process."""

from polyforge.server.process import main
from polyforge.wiring.process import run_process

run_process(main)
