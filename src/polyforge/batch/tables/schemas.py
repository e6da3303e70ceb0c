"""What the management API of batches takes and gives."""

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from polyforge.batch.batches.records import Batch
from polyforge.batch.tables.records import Exchange, Format, beside, format_of
from polyforge.batch.tables.template import Template
from polyforge.dialects.openai_batches import Status, batch_id
from polyforge.dialects.openai_files import file_id
from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Invalid
from polyforge.kernel.money import to_usd
from polyforge.ports.data_store import LONGEST_PATH, check_path

MAX_PAGE: Final = 1_000
_LONGEST_BODY: Final = 64 * 1024
_ANY_ROW: Final = "{{body}}"
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]


def _path(value: str) -> str:
    try:
        return check_path(value)
    except Invalid as error:
        raise ValueError(error.message) from None


PathInStore = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PATH), AfterValidator(_path)]
Label = Annotated[str, StringConstraints(max_length=512)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class NewBatch(BaseModel):
    """A call for each row of a table in a store."""

    model_config = ConfigDict(extra="forbid")

    store: str = Field(max_length=64, description="Name of the store, as the operator declared it.")
    input: PathInStore = Field(description="The table, such as `reviews/may.csv`.")
    format: Format | None = Field(default=None, description="Default: as the name of the table ends.")
    delimiter: Literal[",", ";", "\t", "|"] | None = Field(
        default=None, description="Between the cells of a CSV; default: a comma, or a tab where the name ends in .tsv."
    )
    endpoint: Endpoint
    body: dict[str, Any] | str = Field(
        default=_ANY_ROW,
        description="The body of a call, with `{{column}}` in its texts. A text that is nothing but one placeholder"
        " becomes the value as it is. Default: what is in the column `body`.",
    )
    output: PathInStore | None = Field(
        default=None, description="The table with the answers; default: beside the input, as `may.answers.csv`."
    )
    prefix: str = Field(default="", max_length=32, description="What the names of added columns begin with.")
    replace: bool = Field(default=False, description="Whether to write over what lies where the answers go.")
    metadata: dict[LabelName, Label] = Field(default_factory=dict, max_length=16)

    def exchange(self) -> Exchange:
        """The same as it is kept; Invalid names the field that is wrong."""
        template = json.dumps(self.body, ensure_ascii=False)
        if len(template) > _LONGEST_BODY:
            raise Invalid(f"body: may have {_LONGEST_BODY} characters", param="body")
        Template(template)
        output = self.output or beside(self.input, "answers")
        errors = beside(output, "errors")
        if self.input in (output, errors):
            raise Invalid("output: must be another path than the input", param="output")
        return Exchange(
            store=self.store,
            input=self.input,
            output=output,
            errors=check_path(errors),
            format=self.format or format_of(self.input),
            delimiter=self.delimiter or ("\t" if self.input.lower().endswith(".tsv") else ","),
            template=template,
            prefix=self.prefix,
            replace=self.replace,
        )


class CountsView(BaseModel):
    """How many lines or rows there are, and what became of them."""

    total: int
    completed: int
    failed: int


class ProblemView(BaseModel):
    """What is wrong with an input, or why a batch failed."""

    code: str
    message: str
    line: int | None
    param: str | None


class TableView(BaseModel):
    """What a batch reads and writes in a store."""

    store: str
    input: str
    format: Format
    output: str = Field(description="Every row, with its answer.")
    errors: str | None = Field(description="Rows that got no answer; null: there are none so far.")
    body: Any


class TableBatchView(BaseModel):
    """One batch, of a file or of a table."""

    id: str
    status: Status
    endpoint: str
    input_file_id: str | None = Field(description="Of a batch that `/v1/batches` made.")
    output_file_id: str | None
    error_file_id: str | None
    table: TableView | None = Field(description="Of a batch over a table in a store.")
    counts: CountsView
    input_tokens: int
    output_tokens: int
    price_usd: float
    problems: list[ProblemView]
    metadata: dict[str, str]
    job_id: str
    created_at: datetime
    window_ends_at: datetime
    in_progress_at: datetime | None
    ended_at: datetime | None


class TableBatchPage(BaseModel):
    """Some of the project's batches."""

    data: list[TableBatchView]
    next_cursor: str | None


class StoreList(BaseModel):
    """The stores that the caller's project may use."""

    data: list[str]


def view_of(batch: Batch) -> TableBatchView:
    """A batch as the API shows it."""
    counts, problems = batch.counts, batch.problems
    return TableBatchView(
        id=batch_id(batch.id),
        status=batch.status,
        endpoint=batch.endpoint,
        input_file_id=_file(batch.input_file_id),
        output_file_id=_file(batch.output_file_id),
        error_file_id=_file(batch.error_file_id),
        table=None if batch.exchange is None else _table(batch.exchange, failed=counts.failed > 0),
        counts=CountsView(total=counts.total, completed=counts.completed, failed=counts.failed),
        input_tokens=batch.usage.input_tokens,
        output_tokens=batch.usage.output_tokens,
        price_usd=to_usd(batch.price_micros),
        problems=[ProblemView(code=p.code, message=p.message, line=p.line, param=p.param) for p in problems],
        metadata=batch.labels,
        job_id=batch.job_id,
        created_at=utc(batch.created_at),
        window_ends_at=utc(batch.window_ends_at),
        in_progress_at=_when(batch.in_progress_at),
        ended_at=_when(batch.ended_at),
    )


def _table(exchange: Exchange, *, failed: bool) -> TableView:
    return TableView(
        store=exchange.store,
        input=exchange.input,
        format=exchange.format,
        output=exchange.output,
        errors=exchange.errors if failed else None,
        body=json.loads(exchange.template),
    )


def _file(ulid: str | None) -> str | None:
    return file_id(ulid) if ulid else None


def _when(at: float | None) -> datetime | None:
    return None if at is None else utc(at)
