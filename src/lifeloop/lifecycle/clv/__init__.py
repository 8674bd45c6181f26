"""Purchases and money to come, per customer: buy-till-you-die models, spend and contract churn."""

from lifeloop.lifecycle.clv.contract import ContractChurn, fit_contract_churn
from lifeloop.lifecycle.clv.covariates import covariates_of
from lifeloop.lifecycle.clv.histories import Histories, histories_of
from lifeloop.lifecycle.clv.holdout import HoldOut, hold_out
from lifeloop.lifecycle.clv.lifetime import lifetime_value
from lifeloop.lifecycle.clv.likelihood import Estimate
from lifeloop.lifecycle.clv.predict import Prediction, Terms, predict
from lifeloop.lifecycle.clv.purchases import PurchaseModel, fit_purchases
from lifeloop.lifecycle.clv.spend import SpendModel, fit_spend

__all__ = [
    "ContractChurn",
    "Estimate",
    "Histories",
    "HoldOut",
    "Prediction",
    "PurchaseModel",
    "SpendModel",
    "Terms",
    "covariates_of",
    "fit_contract_churn",
    "fit_purchases",
    "fit_spend",
    "histories_of",
    "hold_out",
    "lifetime_value",
    "predict",
]
