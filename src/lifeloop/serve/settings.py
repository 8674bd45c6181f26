"""The limits of the service, in one place."""

from pydantic import BaseModel, ConfigDict, Field


class ServeSettings(BaseModel):
    """What one process of the service allows. Set by the options of ``lifeloop serve``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_body_bytes: int = Field(16_000_000, ge=1_000, description="of a request, as sent")
    max_opened_bytes: int = Field(64_000_000, ge=1_000, description="of a gzip body, opened")
    max_depth: int = Field(24, ge=2, description="nesting of JSON")
    max_batch: int = Field(10_000, ge=1, description="rows of one request")
    requests_per_s: float = Field(2_000.0, gt=0, description="sustained, per key and process")
    burst: float = Field(4_000.0, gt=0, description="requests at once, per key and process")
    refusals_per_s: float = Field(5.0, gt=0, description="wrong keys per address and process")
    threads: int = Field(6, ge=1, description="other requests worked on at once, per process")
    slates: int = Field(2, ge=1, description="slates worked on at once, per process")
    writers: int = Field(4, ge=1, description="batches of events stored at once, per process")
    key_cache_s: float = Field(1.0, ge=0, description="how late a revoked key may be noticed")
    retry_after_s: int = Field(2, ge=1, description="what a client is told while the store is down")
    breaker_s: float = Field(1.0, ge=0, description="pause before a store that failed is asked")
    origins: tuple[str, ...] = Field((), description="web origins whose pages may send events")
    cached_slates: int = Field(3_000, ge=0, description="last answers kept, per process")
    train_heartbeat_s: float = Field(2.0, gt=0, description="how often a job says that it lives")
