"""What calls cost: list prices of models, as of a date, and the cost of a usage."""

from perimeter.pricing.price import Price, TieredPrice
from perimeter.pricing.table import PriceTable


__all__ = ["Price", "PriceTable", "TieredPrice"]
