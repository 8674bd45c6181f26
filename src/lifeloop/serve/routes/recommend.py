"""What to show: recommendations, similar items, the caller's own candidates in a better order."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from lifeloop.request import MAX_K
from lifeloop.serve.route import JsonRoute, Open, needs

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["recommendations"])

Id = Annotated[str, Path(min_length=1)]
K = Annotated[int, Query(ge=1, le=MAX_K, description="how many items")]


@router.get("/users/{user_id:id}/recommendations", dependencies=[needs("read")])
def recommendations(service: Open, user_id: Id, k: K = 10) -> dict[str, Any]:
    """Recommend items to a user, or to a visitor as ``anon:<anonymous id>``."""
    return service.loop.recommend(user_id, k).to_dict()
