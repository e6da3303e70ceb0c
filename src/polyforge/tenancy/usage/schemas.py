"""What the API of usage and costs gives."""

from datetime import datetime

from pydantic import BaseModel, Field


class GroupFields(BaseModel):
    """What a group has in common; only the fields that were grouped by are there."""

    month: str | None = Field(default=None, description="YYYY-MM, UTC.")
    day: str | None = Field(default=None, description="YYYY-MM-DD, UTC.")
    hour: datetime | None = Field(default=None, description="When it began.")
    project: str | None = Field(default=None, description="The project's id.")
    project_name: str | None = Field(default=None, description="The project's name.")
    key: str | None = Field(default=None, description="The key's id.")
    key_name: str | None = Field(default=None, description="The key's name.")
    user: str | None = Field(default=None, description="Id of the user whose key it was; empty: nobody's.")
    end_user: str | None = Field(default=None, description="Whom the caller asked for; empty: it did not say.")
    model: str | None = None
    provider: str | None = Field(default=None, description="Empty: no provider was reached.")
    deployment: str | None = Field(default=None, description="The provider's own name of the model.")
    task: str | None = None
    tag: str | None = Field(
        default=None, description="One of the calls' tags, empty for calls without any; with `tag:name`, its value."
    )


class UsageSums(BaseModel):
    """What calls used, cost and were priced."""

    requests: int
    errors: int = Field(description="Calls that ended in an error, or with the gateway.")
    cached_requests: int = Field(description="Calls whose answer was kept from an earlier one.")
    input_tokens: int = Field(description="Every token of the prompts, cached or not.")
    cached_tokens: int = Field(description="The part of the input that the provider read from its cache.")
    output_tokens: int
    total_tokens: int
    reasoning_tokens: int = Field(description="The part of the output that is thought.")
    images: int = Field(description="Images made.")
    audio_seconds: float = Field(description="Seconds of audio heard or spoken.")
    characters: int = Field(description="Characters spoken or translated.")
    mean_seconds: float = Field(description="How long a call took, on average.")
    cost_usd: float = Field(description="What the providers charge.")
    price_usd: float = Field(description="What the callers are charged; budgets count it.")


class UsageGroup(UsageSums, GroupFields):
    """The sums of one group."""


class UsageReport(BaseModel):
    """Usage over a span of time."""

    since: datetime
    until: datetime
    data: list[UsageGroup]
    totals: UsageSums = Field(description="Of all pages; a call counts once, however many tags it has.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the groups after these; null: there are none.")


class CostSums(BaseModel):
    """What calls cost and brought in."""

    requests: int
    cached_requests: int = Field(description="Calls whose answer was kept from an earlier one.")
    cost_usd: float = Field(description="What the providers charge.")
    price_usd: float = Field(description="What the callers are charged.")
    margin_usd: float = Field(description="Price less cost.")
    saved_usd: float = Field(description="What the calls would have cost whose answers were kept from earlier ones.")


class CostGroup(CostSums, GroupFields):
    """The costs of one group."""


class CostReport(BaseModel):
    """Costs over a span of time."""

    since: datetime
    until: datetime
    data: list[CostGroup]
    totals: CostSums = Field(description="Of all pages; a call counts once, however many tags it has.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the groups after these; null: there are none.")


class AmountForecast(BaseModel):
    """What a month comes to, in USD."""

    so_far: float
    expected: float | None = Field(description="By the end of the month; null: there are too few days to tell.")
    low: float | None = Field(description="It comes to less than this in one of ten cases.")
    high: float | None = Field(description="It comes to more than this in one of ten cases.")


class ForecastView(BaseModel):
    """What the current month will come to, in UTC."""

    month: str = Field(description="YYYY-MM.")
    now: datetime
    until: datetime = Field(description="The end of the month.")
    days: int = Field(description="Complete days that it goes by, at most 56.")
    note: str | None = Field(description="Why there is no forecast; null: there is one.")
    cost_usd: AmountForecast
    price_usd: AmountForecast
