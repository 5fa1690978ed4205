"""Compose messages: from the claims of a notice to complete mails, cohort by cohort."""
