"""HTTP: inference paths as plain ASGI, the management API behind them, and the one place where errors are rendered."""
