"""How a site works, as far as rules ask: options of the site, which are no facts of a patient."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Practice(BaseModel):
    """What a rule may ask of a site. All other options (``service.options``) are built on top of these and come along unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Wards are smoke-free: an admission of a smoker counts as a stop of smoking.
    smoke_free_wards: bool = False
    #: Information on treatment resistance when a chart is opened.
    pathway: bool = False
    #: Prefetch keys that the site does not have, such as statements: not asked for, and no card says that they are missing.
    not_sent: tuple[str, ...] = ()
    #: Who holds the blood counts, where the site does not (“the clozapine clinic”): one that is missing or overdue is information then.
    counts_elsewhere: str = Field(default="", max_length=40)
    #: The brand of clozapine that the site's patients take, where orders and supply name none: its monitoring service may count otherwise.
    clozapine_brand: str = Field(default="", max_length=40)


#: A site that chose nothing.
AS_USUAL = Practice()
