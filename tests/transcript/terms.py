"""What the providers declare and what the merchant applies for."""

from __future__ import annotations

PURPOSE = "Household incomes at the quayside, for the winter report."

DECLARATION = """
[dataset]
name = "households"
title = "Households of {party}"
description = "Incomes and schooling."
owner = "Bureau {party}"
office = "Data office"
registration = "REG-{party}"
sharing = "conditional"
declared_rows = 1000
update_cycle = "never"
version = "0011223344556677"

[dataset.release]
mode = "exact"
min_group_size = 3
min_contributors = 2

[source]
csv = "../data/rows.csv"

[[column]]
name = "household_income"
type = "decimal"
unit = "CNY"
decimals = 2
lo = 0
hi = 100000000000000
uses = ["aggregate"]
on_violation = "exclude"
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2030-01-01

[[column]]
name = "wealth_score"
type = "integer"
lo = 0
hi = 1000000000000000
uses = ["aggregate"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2030-01-01

[[column]]
name = "education_years"
type = "integer"
unit = "years"
lo = 0
hi = 18
edges = [0, 8, 12, 16, 18]
uses = ["group_by", "filter"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2030-01-01

[[column]]
name = "settlement"
type = "category"
domain = ["harbour", "upland"]
uses = ["group_by", "filter"]
grade = "general"
grade_basis = "GB/T 43697-2024"
grade_review = 2030-01-01
"""

APPLICATION = """
[application]
computing_party = "east"
operations = ["aggregate"]
valid_days = 30
lease_minutes = 1440

[application.purpose]
code = "quayside.incomes"
text = "{purpose}"

{providers}

[[column]]
name = "household_income"
uses = ["aggregate"]

[[column]]
name = "wealth_score"
uses = ["aggregate"]

[[column]]
name = "education_years"
uses = ["group_by", "filter"]

[[column]]
name = "settlement"
uses = ["group_by", "filter"]

[quotas]
calls = 100
ciphertexts = 100000

[tariff]
currency = "CNY"
per_call = 1.5
per_1000_rows = 0.02
fee_cap = 500
"""
