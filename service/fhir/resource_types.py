"""Types of resources, of R4 and older releases, of which this service knows what they cannot say."""

from __future__ import annotations

#: They order no drug and hold no result that a rule asks for; any other type among the drafts is named where clozapine is in question.
NAMES_NO_DRUG = frozenset(
    {
        "AllergyIntolerance", "Appointment", "AppointmentResponse", "BodySite", "BodyStructure", "CareTeam", "ChargeItem", "Claim",
        "Communication", "CommunicationRequest", "Composition", "Condition", "Consent", "Coverage", "CoverageEligibilityRequest", "DetectedIssue",
        "Device", "DeviceMetric", "DeviceRequest", "DeviceUseRequest", "DeviceUseStatement", "DiagnosticOrder", "DiagnosticReport",
        "DocumentReference", "Encounter", "EnrollmentRequest", "EpisodeOfCare", "Flag", "Goal", "Group", "HealthcareService",
        "ImagingStudy", "Immunization", "ImmunizationRecommendation", "Location", "Media", "Medication", "MessageHeader", "NutritionOrder",
        "Observation", "OperationOutcome", "Organization", "Patient", "Person", "Practitioner", "PractitionerRole", "Procedure",
        "ProcedureRequest", "Provenance", "Questionnaire", "QuestionnaireResponse", "ReferralRequest", "RelatedPerson",
        "RiskAssessment", "Schedule", "ServiceRequest", "Slot", "Specimen", "VisionPrescription",
    }
)  # fmt: skip
