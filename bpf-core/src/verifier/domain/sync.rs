//! Deductions between the descriptions of one number.
