package hapi;

import ca.uhn.fhir.interceptor.api.Hook;
import ca.uhn.fhir.interceptor.api.Interceptor;
import ca.uhn.fhir.interceptor.api.Pointcut;
import ca.uhn.fhir.rest.api.server.RequestDetails;
import ca.uhn.fhir.rest.server.exceptions.AuthenticationException;

/** Answers 401 to whoever does not bring the access token, as an EHR's FHIR server does. The CapabilityStatement is open to all. */
@Interceptor
public final class TokenCheck {
    private final String expected;

    TokenCheck(String token) {
        expected = "Bearer " + token;
    }

    @Hook(Pointcut.SERVER_INCOMING_REQUEST_POST_PROCESSED)
    public void check(RequestDetails request) {
        if (!"metadata".equals(request.getOperation()) && !expected.equals(request.getHeader("Authorization"))) {
            throw new AuthenticationException("an access token is needed");
        }
    }
}
