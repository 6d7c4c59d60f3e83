package hapi;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.parser.IParser;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.SingleValidationMessage;
import ca.uhn.fhir.validation.ValidationResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.IdType;
import org.hl7.fhir.r4.model.MetadataResource;
import org.hl7.fhir.r4.model.Parameters;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.Resource;

/**
 * HAPI's own client and validator against the service.
 *
 * <p>Arguments: "ask", the FHIR base address and a file with a Bundle – calls the operation at every level and prints what came first –; or
 * "validate", a folder of resources of the service and a folder of its definitions: prints each message of the validator.
 */
public final class Client {
    private static final FhirContext R4 = FhirContext.forR4();

    private Client() {}

    public static void main(String[] arguments) throws IOException {
        if (arguments[0].equals("ask")) {
            ask(arguments[1], Path.of(arguments[2]));
        } else {
            validate(Path.of(arguments[1]), Path.of(arguments[2]));
        }
    }

    private static void ask(String base, Path file) throws IOException {
        IGenericClient client = R4.newRestfulGenericClient(base); // it asks for /metadata before it asks for anything
        Bundle chart = R4.newJsonParser().parseResource(Bundle.class, Files.readString(file));
        Parameters in = new Parameters();
        in.addParameter().setName("bundle").setResource(chart);
        String patient = chart.getEntry().stream()
                .map(Bundle.BundleEntryComponent::getResource)
                .filter(Patient.class::isInstance)
                .findFirst()
                .orElseThrow()
                .getIdElement()
                .getIdPart();
        tell("system", client.operation().onServer().named("$clozapine-check").withParameters(in).returnResourceType(Bundle.class).execute());
        tell("type", client.operation().onType(Patient.class).named("$clozapine-check").withParameters(in).returnResourceType(Bundle.class).execute());
        tell(
                "instance",
                client.operation()
                        .onInstance(new IdType("Patient", patient))
                        .named("$clozapine-check")
                        .withParameters(in)
                        .returnResourceType(Bundle.class)
                        .execute());
    }

    private static void tell(String level, Bundle answer) {
        Resource first = answer.getEntryFirstRep().getResource();
        System.out.println(level + " " + R4.newJsonParser().encodeResourceToString(first));
    }

    private static void validate(Path answers, Path definitions) throws IOException {
        IParser parser = R4.newJsonParser();
        PrePopulatedValidationSupport own = new PrePopulatedValidationSupport(R4);
        for (Path file : files(definitions)) {
            Resource resource = (Resource) parser.parseResource(Files.readString(file));
            if (resource instanceof MetadataResource) {
                own.addResource(resource);
            }
        }
        ValidationSupportChain support = new ValidationSupportChain(
                new DefaultProfileValidationSupport(R4),
                own,
                new CommonCodeSystemsTerminologyService(R4),
                new InMemoryTerminologyServerValidationSupport(R4),
                new SnapshotGeneratingValidationSupport(R4));
        FhirInstanceValidator instances = new FhirInstanceValidator(support);
        instances.setNoTerminologyChecks(false);
        instances.setAnyExtensionsAllowed(false);
        FhirValidator validator = R4.newValidator().registerValidatorModule(instances);
        int seen = 0;
        for (Path file : Stream.concat(files(definitions).stream(), files(answers).stream()).toList()) {
            ValidationResult result = validator.validateWithResult(Files.readString(file));
            seen++;
            for (SingleValidationMessage message : result.getMessages()) {
                System.out.println(message.getSeverity() + "\t" + file.getFileName() + "\t" + message.getLocationString() + "\t"
                        + message.getMessageId() + "\t" + message.getMessage().replace('\n', ' '));
            }
        }
        System.out.println("validated " + seen);
    }

    private static List<Path> files(Path folder) throws IOException {
        try (Stream<Path> found = Files.list(folder)) {
            return found.sorted().toList();
        }
    }
}
