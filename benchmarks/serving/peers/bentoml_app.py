"""BentoML with its adaptive batching, as https://docs.bentoml.com has it; `bentoml serve bentoml_app:Service`."""

import bentoml
import numpy as np

from benchmarks.serving.engine import add_one, batch_rows, encoder, serves_texts, workers

if serves_texts():

    @bentoml.service(workers=workers())
    class Service:
        def __init__(self) -> None:
            self.encode = encoder()

        @bentoml.api(batchable=True, max_batch_size=batch_rows())
        def text(self, texts: list[str]) -> np.ndarray:
            return self.encode(texts)

else:

    @bentoml.service(workers=workers())
    class Service:
        def __init__(self) -> None:
            self.add = add_one()

        @bentoml.api(batchable=True, max_batch_size=batch_rows())
        def json(self, rows: np.ndarray) -> np.ndarray:
            return self.add(rows.astype(np.float32))
