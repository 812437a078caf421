/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests client.c on a host, with the registrar of crates/nmr-registrar as NMR. Wine runs requests and service control
 * on one thread, so what happens when a provider leaves in the middle of a call can only be seen here.
 *
 * crates/sluice-npi/tests/c_client.rs compiles this and runs it once for every test, with the test's name as argument.
 */
#include "../client.c"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- A provider that does what the tests want -------------------------------------------------------------------- */

typedef struct _PROVIDER {
    HANDLE Handle;
    HANDLE Binding;
    void *ClientContext;
    const SLUICE_CLIENT_DISPATCH *Client;
    /* What is wanted. */
    NTSTATUS AttachStatus;
    atomic_int Hold; /* Classify waits while it is not 0 */
    NTSTATUS DetachStatus;
    /* What was seen. */
    atomic_int Attached;
    atomic_int Inside;
    atomic_int Calls;
    atomic_int Cleaned;
} PROVIDER;

static NTSTATUS Classify(void *Context, const SLUICE_PACKET *Packets, UINT32 Count, SLUICE_VERDICT *Verdicts)
{
    PROVIDER *provider = Context;
    UINT32 i;

    provider->Inside++;
    /* The client may not be here once its part of the detach is done, nor can its thread be suspended here. */
    CHECK(provider->Cleaned == 0);
    CHECK(CriticalRegions == (KeGetCurrentIrql() < DISPATCH_LEVEL ? 1 : 0));
    while (provider->Hold) {
        sched_yield();
    }
    for (i = 0; i < Count; i++) {
        const SLUICE_VERDICT verdict = {
            .Header = SLUICE_HEADER_OF(SLUICE_VERDICT), .Action = SLUICE_ACTION_BLOCK, .RuleId = Packets[i].WireLength};
        Verdicts[i] = verdict;
    }
    provider->Calls++;
    CHECK(provider->Cleaned == 0);
    provider->Inside--;
    return STATUS_SUCCESS;
}

static NTSTATUS QueryStatistics(void *Context, SLUICE_STATISTICS *Statistics)
{
    CHECK(Statistics->Header.Version == 1 && Statistics->Header.Size == sizeof(*Statistics));
    Statistics->Packets = (UINT64)((PROVIDER *)Context)->Calls;
    return STATUS_SUCCESS;
}

static const SLUICE_PROVIDER_DISPATCH ProviderDispatch = {
    SLUICE_HEADER_OF(SLUICE_PROVIDER_DISPATCH), Classify, QueryStatistics};

static NTSTATUS ProviderAttachClient(HANDLE Binding, PVOID Context, PNPI_REGISTRATION_INSTANCE Client,
                                     PVOID ClientContext, const void *Dispatched, PVOID *ProviderContext,
                                     const void **Dispatch_)
{
    PROVIDER *provider = Context;
    const SLUICE_CLIENT_CHARACTERISTICS *client = Client->NpiSpecificCharacteristics;

    CHECK(client->Header.Version == 1 && client->Header.Size == sizeof(*client));
    CHECK(strcmp((const char *)client->Name, "probe-c") == 0);
    if (provider->AttachStatus != STATUS_SUCCESS) {
        return provider->AttachStatus;
    }
    provider->Binding = Binding;
    provider->ClientContext = ClientContext;
    provider->Client = Dispatched;
    provider->Attached++;
    *ProviderContext = provider;
    *Dispatch_ = &ProviderDispatch;
    return STATUS_SUCCESS;
}

static NTSTATUS ProviderDetachClient(PVOID Context)
{
    return ((PROVIDER *)Context)->DetachStatus;
}

static VOID ProviderCleanup(PVOID Context)
{
    CHECK(((PROVIDER *)Context)->Inside == 0);
    ((PROVIDER *)Context)->Cleaned++;
}

static const NPI_MODULEID ProviderId = {sizeof(NPI_MODULEID), MIT_GUID, {{1, 2, 3, {4, 5, 6, 7, 8, 9, 10, 11}}}};
static SLUICE_PROVIDER_CHARACTERISTICS ProviderSays = {
    SLUICE_HEADER_OF(SLUICE_PROVIDER_CHARACTERISTICS), SLUICE_MAX_BATCH};
static NPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics = {
    0, sizeof(NPI_PROVIDER_CHARACTERISTICS), ProviderAttachClient, ProviderDetachClient, ProviderCleanup,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &SLUICE_NPI_ID, &ProviderId, 0, &ProviderSays}};

static void ProviderStart(PROVIDER *provider)
{
    CHECK(NmrRegisterProvider(&ProviderCharacteristics, provider, &provider->Handle) == STATUS_SUCCESS);
}

static void ProviderStop(PROVIDER *provider)
{
    CHECK(NmrDeregisterProvider(provider->Handle) == STATUS_PENDING);
    CHECK(NmrWaitForProviderDeregisterComplete(provider->Handle) == STATUS_SUCCESS);
    CHECK(provider->Cleaned == provider->Attached);
}

/* ---- What tests do over and over --------------------------------------------------------------------------------- */

/* Has one packet classified, and looks at the verdict if there is one. */
static NTSTATUS Ask(void)
{
    const SLUICE_PACKET packet = {
        SLUICE_HEADER_OF(SLUICE_PACKET), SLUICE_LINK_TYPE_ETHERNET, SLUICE_DIRECTION_INBOUND, 0, 77, NULL};
    SLUICE_VERDICT verdict;
    NTSTATUS status = ClientClassify(&packet, 1, &verdict);

    CHECK(status == STATUS_SUCCESS ? verdict.RuleId == 77 : status == STATUS_DEVICE_NOT_READY);
    CHECK(CriticalRegions == 0);
    return status;
}

static void *AskOnce(void *status)
{
    *(NTSTATUS *)status = Ask();
    return NULL;
}

/* ---- The tests --------------------------------------------------------------------------------------------------- */

/* A provider that leaves gets SUCCESS if nobody is inside it, and the client works with the next one. */
static void attaches_detaches_and_attaches_again(void)
{
    PROVIDER first = {0}, second = {0};
    PROBE_PROVIDER listed;

    CHECK(Ask() == STATUS_DEVICE_NOT_READY);
    ProviderStart(&first);
    CHECK(Ask() == STATUS_SUCCESS && first.Calls == 1);
    ProviderStart(&second);
    CHECK(Ask() == STATUS_SUCCESS && first.Calls == 2);
    /* At DISPATCH_LEVEL a critical region must not be entered: see ntifs.h. */
    nmr_registrar_set_irql(DISPATCH_LEVEL);
    CHECK(Ask() == STATUS_SUCCESS && first.Calls == 3);
    nmr_registrar_set_irql(PASSIVE_LEVEL);
    CHECK(ClientListProviders(&listed, 1) == 2 && listed.Statistics.Packets == 3);
    CHECK(listed.ModuleIdType == MIT_GUID && memcmp(listed.ModuleId, &ProviderId.Guid, 16) == 0);
    ProviderStop(&first);
    CHECK(Ask() == STATUS_SUCCESS && second.Calls == 1);
    ProviderStop(&second);
    CHECK(Ask() == STATUS_DEVICE_NOT_READY);
}

/* R44, R45: the detach is pending as long as a call is inside, nobody else gets in, and the last one out ends it. */
static void r45_the_last_call_completes_a_pending_detach(void)
{
    PROVIDER provider = {.Hold = 1};
    NTSTATUS status = STATUS_PENDING;
    pthread_t caller;

    ProviderStart(&provider);
    pthread_create(&caller, NULL, AskOnce, &status);
    while (provider.Inside == 0) {
        sched_yield();
    }
    /* At DISPATCH_LEVEL, as whoever ends a registration may be. */
    nmr_registrar_set_irql(DISPATCH_LEVEL);
    CHECK(NmrDeregisterProvider(provider.Handle) == STATUS_PENDING);
    nmr_registrar_set_irql(PASSIVE_LEVEL);
    CHECK(provider.Cleaned == 0 && PoolBlocks == 1);
    CHECK(Ask() == STATUS_DEVICE_NOT_READY);
    CHECK(ClientListProviders(NULL, 0) == 0);
    provider.Hold = 0;
    CHECK(NmrWaitForProviderDeregisterComplete(provider.Handle) == STATUS_SUCCESS);
    pthread_join(caller, NULL);
    CHECK(status == STATUS_SUCCESS && provider.Cleaned == 1 && PoolBlocks == 0);
}

/* R51: the provider is still inside PolicyChanged when the client has detached. Its context has to be there. */
static void r51_the_provider_may_call_until_cleanup(void)
{
    PROVIDER provider = {.DetachStatus = STATUS_PENDING};

    ProviderStart(&provider);
    CHECK(NmrDeregisterProvider(provider.Handle) == STATUS_PENDING);
    CHECK(Ask() == STATUS_DEVICE_NOT_READY);
    provider.Client->PolicyChanged(provider.ClientContext, 5);
    CHECK(((PROBE_BINDING *)provider.ClientContext)->Generation == 5);
    CHECK(PoolBlocks == 1);
    NmrProviderDetachClientComplete(provider.Binding);
    CHECK(NmrWaitForProviderDeregisterComplete(provider.Handle) == STATUS_SUCCESS);
    CHECK(PoolBlocks == 0);
}

static void *StartOnThread(void *provider)
{
    ProviderStart(provider);
    return NULL;
}

/* R28: a policy is announced before NmrClientAttachProvider has returned to the client. */
static void r28_a_policy_may_change_before_the_attach_returns(void)
{
    PROVIDER provider = {0};
    PROBE_PROVIDER listed;
    pthread_t starter;
    uint32_t pause = nmr_registrar_pause(NMR_PROVIDER_ATTACH, 1);

    pthread_create(&starter, NULL, StartOnThread, &provider);
    CHECK(nmr_registrar_wait_until_paused(pause) == 0);
    provider.Client->PolicyChanged(provider.ClientContext, 3);
    provider.Client->PolicyChanged(provider.ClientContext, 2);
    CHECK(Ask() == STATUS_DEVICE_NOT_READY);
    nmr_registrar_resume(pause);
    pthread_join(starter, NULL);
    CHECK(Ask() == STATUS_SUCCESS);
    CHECK(ClientListProviders(&listed, 1) == 1 && listed.Generation == 3);
    ProviderStop(&provider);
}

/* R23: if there is no binding there is no cleanup callback either; the client has to free its context itself. */
static void r23_a_refused_client_frees_its_context(void)
{
    PROVIDER provider = {.AttachStatus = STATUS_NOINTERFACE};

    ProviderStart(&provider);
    CHECK(PoolBlocks == 0 && ClientListProviders(NULL, 0) == 0);
    ProviderStop(&provider);
}

static void an_attach_without_memory_fails(void)
{
    PROVIDER provider = {0};

    PoolFailures = 1;
    ProviderStart(&provider);
    CHECK(PoolFailures == 0 && provider.Attached == 0);
    ProviderStop(&provider);
}

/* M21: what the provider says about itself is looked at before anything else. */
static void m21_a_provider_that_is_no_sluice_of_version_1_is_declined(void)
{
    const void *says[3] = {NULL, &ProviderSays, &ProviderSays};
    const SLUICE_HEADER headers[3] = {
        {1, sizeof(ProviderSays)}, {2, sizeof(ProviderSays)}, {1, sizeof(ProviderSays) - 1}};
    int i;

    for (i = 0; i < 3; i++) {
        PROVIDER provider = {0};

        ProviderCharacteristics.ProviderRegistrationInstance.NpiSpecificCharacteristics = says[i];
        ProviderSays.Header = headers[i];
        ProviderStart(&provider);
        CHECK(provider.Attached == 0 && PoolBlocks == 0);
        ProviderStop(&provider);
    }
}

static atomic_int Over;

static void *AskUntilOver(void *answered)
{
    while (!Over) {
        if (Ask() == STATUS_SUCCESS) {
            ++*(atomic_int *)answered;
        }
        CHECK(ClientListProviders(NULL, 0) <= 1);
    }
    return NULL;
}

/* Providers come and go while four threads call: whoever gets in gets an answer, and no call outlives a binding. */
static void providers_come_and_go_under_load(void)
{
    pthread_t callers[4];
    atomic_int answered = 0;
    int rounds = 0;
    size_t i;

    for (i = 0; i < 4; i++) {
        pthread_create(&callers[i], NULL, AskUntilOver, &answered);
    }
    while (rounds < 300 || answered < 300) {
        PROVIDER provider = {.Hold = rounds % 3 == 0};

        ProviderStart(&provider);
        if (provider.Hold) {
            /* Leaves with calls inside. */
            while (provider.Inside == 0) {
                sched_yield();
            }
            CHECK(NmrDeregisterProvider(provider.Handle) == STATUS_PENDING);
            provider.Hold = 0;
            CHECK(NmrWaitForProviderDeregisterComplete(provider.Handle) == STATUS_SUCCESS);
            CHECK(provider.Cleaned == 1);
        } else {
            ProviderStop(&provider);
        }
        rounds++;
    }
    Over = 1;
    for (i = 0; i < 4; i++) {
        pthread_join(callers[i], NULL);
    }
}

#define TEST(name) {#name, name}
static const struct {
    const char *Name;
    void (*Run)(void);
} Tests[] = {
    TEST(attaches_detaches_and_attaches_again),
    TEST(r45_the_last_call_completes_a_pending_detach),
    TEST(r51_the_provider_may_call_until_cleanup),
    TEST(r28_a_policy_may_change_before_the_attach_returns),
    TEST(r23_a_refused_client_frees_its_context),
    TEST(an_attach_without_memory_fails),
    TEST(m21_a_provider_that_is_no_sluice_of_version_1_is_declined),
    TEST(providers_come_and_go_under_load),
};

int main(int argc, char **argv)
{
    size_t i;

    for (i = 0; i < sizeof(Tests) / sizeof(Tests[0]); i++) {
        if (argc == 2 && strcmp(argv[1], Tests[i].Name) == 0) {
            /* A detach that is never completed would be waited for without end. */
            alarm(60);
            CHECK(nmr_registrar_begin() == 0);
            CHECK(ClientRegister() == STATUS_SUCCESS);
            Tests[i].Run();
            ClientDeregister();
            CHECK(PoolBlocks == 0);
            /* Rules that were broken, and what is still alive. */
            return nmr_registrar_end() == 0 ? 0 : 1;
        }
    }
    printf("usage: %s TEST\n", argv[0]);
    return 1;
}
