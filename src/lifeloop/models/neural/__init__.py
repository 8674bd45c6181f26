"""Networks (extra ``[train]``): trained with torch, served without it."""
