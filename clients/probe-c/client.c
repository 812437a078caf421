/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The NMR client. docs/npi.md tells the contract that this keeps.
 *
 * A binding, the connection to one provider, lives in a PROBE_BINDING. It is made in ClientAttachProvider and freed in
 * ClientCleanupBindingContext, nowhere else. Between the two:
 *
 *   - callers find it in the list, and enter its guard while they hold the list's lock. From before that until they
 *     have left it they are in a critical region: a thread that was suspended in between would hold up the detach;
 *   - ClientDetachProvider takes it out of the list, so that it cannot be found any more, and closes the guard;
 *   - whoever is last, that callback or the last caller, ends the detach.
 */
#include "probe.h"

#include "guard.h"

typedef struct _PROBE_BINDING {
    LIST_ENTRY Link;
    HANDLE NmrBindingHandle;
    GUARD Guard;
    const SLUICE_PROVIDER_DISPATCH *Provider;
    void *ProviderContext;
    volatile LONG64 Generation;
    UINT32 ModuleIdType;
    UINT8 ModuleId[16];
} PROBE_BINDING;

static HANDLE Registration;
/* The bindings that are attached, in the order in which they were, and their lock. */
static LIST_ENTRY Bindings;
static KSPIN_LOCK BindingsLock;

/* ---- What this client hands to providers ------------------------------------------------------------------------- */

static SLUICE_POLICY_CHANGED PolicyChanged;

static const SLUICE_CLIENT_DISPATCH Dispatch = {SLUICE_HEADER_OF(SLUICE_CLIENT_DISPATCH), PolicyChanged};

/* At PASSIVE_LEVEL, on any thread, as soon as NmrClientAttachProvider has been called: the binding is complete by then,
 * except for the provider's dispatch table. */
static void NTAPI PolicyChanged(void *Context, UINT64 Generation)
{
    PROBE_BINDING *binding = Context;
    LONG64 known = binding->Generation;

    /* Two changes may be announced in either order; the highest is in force. */
    while ((UINT64)known < Generation) {
        LONG64 seen = InterlockedCompareExchange64(&binding->Generation, (LONG64)Generation, known);

        if (seen == known) {
            break;
        }
        known = seen;
    }
}

/* ---- What NMR calls ---------------------------------------------------------------------------------------------- */

static NPI_CLIENT_ATTACH_PROVIDER_FN ClientAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ClientDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ClientCleanupBindingContext;

/* Offers a provider, at PASSIVE_LEVEL. All that can fail comes before NmrClientAttachProvider: its success is final. */
static NTSTATUS NTAPI ClientAttachProvider(HANDLE NmrBindingHandle,
                                           PVOID ClientContext,
                                           PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    const SLUICE_PROVIDER_CHARACTERISTICS *provider = ProviderRegistrationInstance->NpiSpecificCharacteristics;
    const NPI_MODULEID *moduleId = ProviderRegistrationInstance->ModuleId;
    PROBE_BINDING *binding;
    NTSTATUS status;
    KIRQL irql;

    UNREFERENCED_PARAMETER(ClientContext);

    if (provider == NULL || provider->Header.Version != SLUICE_NPI_VERSION ||
        provider->Header.Size < sizeof(*provider)) {
        return STATUS_NOINTERFACE;
    }

    /* Filled with zeros. */
    binding = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*binding), PROBE_POOL_TAG);
    if (binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    binding->NmrBindingHandle = NmrBindingHandle;
    if (moduleId != NULL && moduleId->Length >= sizeof(*moduleId)) {
        if (moduleId->Type == MIT_GUID) {
            binding->ModuleIdType = MIT_GUID;
            RtlCopyMemory(binding->ModuleId, &moduleId->Guid, sizeof(moduleId->Guid));
        } else if (moduleId->Type == MIT_IF_LUID) {
            binding->ModuleIdType = MIT_IF_LUID;
            RtlCopyMemory(binding->ModuleId, &moduleId->IfLuid, sizeof(moduleId->IfLuid));
        }
    }

    status = NmrClientAttachProvider(NmrBindingHandle, binding, &Dispatch, &binding->ProviderContext,
                                     (const VOID **)&binding->Provider);
    if (status != STATUS_SUCCESS) {
        /* There is no binding, so there will be no cleanup callback. */
        ExFreePoolWithTag(binding, PROBE_POOL_TAG);
        return status;
    }

    /* The detach callback is not called before this function has returned. */
    KeAcquireSpinLock(&BindingsLock, &irql);
    InsertTailList(&Bindings, &binding->Link);
    KeReleaseSpinLock(&BindingsLock, irql);
    return status;
}

/* Ends the calls into a provider, at up to DISPATCH_LEVEL. May neither wait nor free anything: the provider may still
 * be inside PolicyChanged. */
static NTSTATUS NTAPI ClientDetachProvider(PVOID ClientBindingContext)
{
    PROBE_BINDING *binding = ClientBindingContext;
    KIRQL irql;

    KeAcquireSpinLock(&BindingsLock, &irql);
    RemoveEntryList(&binding->Link);
    KeReleaseSpinLock(&BindingsLock, irql);

    /* If calls are in progress the last of them completes the detach, and the binding may be gone here already. */
    return GuardClose(&binding->Guard) ? STATUS_SUCCESS : STATUS_PENDING;
}

/* Both sides have detached: the binding is not known to anybody any more. At up to DISPATCH_LEVEL. */
static VOID NTAPI ClientCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PROBE_POOL_TAG);
}

/* ---- Calls into providers ---------------------------------------------------------------------------------------- */

/* The binding that attached first, with its guard entered; NULL if there is none. */
static PROBE_BINDING *EnterFirstBinding(VOID)
{
    PROBE_BINDING *found = NULL;
    KIRQL irql;

    KeAcquireSpinLock(&BindingsLock, &irql);
    if (!IsListEmpty(&Bindings)) {
        PROBE_BINDING *first = CONTAINING_RECORD(Bindings.Flink, PROBE_BINDING, Link);

        if (GuardEnter(&first->Guard)) {
            found = first;
        }
    }
    KeReleaseSpinLock(&BindingsLock, irql);
    return found;
}

static VOID LeaveBinding(PROBE_BINDING *Binding)
{
    /* Read first: once the guard is left, the binding belongs to others, unless this was the last call. */
    HANDLE nmrBindingHandle = Binding->NmrBindingHandle;

    if (GuardLeave(&Binding->Guard)) {
        /* The cleanup callback may run inside this call. */
        NmrClientDetachProviderComplete(nmrBindingHandle);
    }
}

NTSTATUS ClientClassify(const SLUICE_PACKET *Packets, UINT32 Count, SLUICE_VERDICT *Verdicts)
{
    /* At DISPATCH_LEVEL there are no APCs, and a critical region must not be entered. */
    const BOOLEAN suspendable = KeGetCurrentIrql() < DISPATCH_LEVEL;
    NTSTATUS status = STATUS_DEVICE_NOT_READY;
    PROBE_BINDING *binding;

    if (suspendable) {
        KeEnterCriticalRegion();
    }
    binding = EnterFirstBinding();
    if (binding != NULL) {
        status = binding->Provider->Classify(binding->ProviderContext, Packets, Count, Verdicts);
        LeaveBinding(binding);
    }
    if (suspendable) {
        KeLeaveCriticalRegion();
    }
    return status;
}

UINT32 ClientListProviders(PROBE_PROVIDER *Providers, UINT32 Room)
{
    UINT32 total = 0;
    LIST_ENTRY *link;
    KIRQL irql;

    KeAcquireSpinLock(&BindingsLock, &irql);
    for (link = Bindings.Flink; link != &Bindings; link = link->Flink, total++) {
        /* No guard is needed: no detach gets past its callback's first lines while the lock is held. */
        PROBE_BINDING *binding = CONTAINING_RECORD(link, PROBE_BINDING, Link);
        const SLUICE_HEADER header = SLUICE_HEADER_OF(SLUICE_STATISTICS);
        PROBE_PROVIDER *provider = &Providers[total];

        if (total >= Room) {
            continue;
        }
        RtlZeroMemory(provider, sizeof(*provider));
        provider->ModuleIdType = binding->ModuleIdType;
        RtlCopyMemory(provider->ModuleId, binding->ModuleId, sizeof(binding->ModuleId));
        provider->Generation = (UINT64)binding->Generation;
        provider->Statistics.Header = header;
        (VOID)binding->Provider->QueryStatistics(binding->ProviderContext, &provider->Statistics);
    }
    KeReleaseSpinLock(&BindingsLock, irql);
    return total;
}

/* ---- The registration -------------------------------------------------------------------------------------------- */

/* NMR and providers keep pointers to all of this. It is constant data of the image, so it stays where it is. */
static const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    {{0xd60f96e3, 0xe6a4, 0x4368, {0x88, 0x06, 0x52, 0x8d, 0x8c, 0xac, 0x6b, 0x8c}}},
};

static const SLUICE_CLIENT_CHARACTERISTICS SluiceCharacteristics = {
    SLUICE_HEADER_OF(SLUICE_CLIENT_CHARACTERISTICS),
    1,
    "probe-c",
};

static const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ClientAttachProvider,
    ClientDetachProvider,
    ClientCleanupBindingContext,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &SLUICE_NPI_ID, &ModuleId, 0, &SluiceCharacteristics},
};

NTSTATUS ClientRegister(VOID)
{
    InitializeListHead(&Bindings);
    KeInitializeSpinLock(&BindingsLock);
    return NmrRegisterClient(&Characteristics, NULL, &Registration);
}

VOID ClientDeregister(VOID)
{
    /* It detaches from all providers, then STATUS_PENDING says that the end is to be waited for. It can fail only for a
     * handle that is none. */
    NTSTATUS status = NmrDeregisterClient(Registration);

    if (status == STATUS_PENDING) {
        status = NmrWaitForClientDeregisterComplete(Registration);
    }
    NT_ASSERT(status == STATUS_SUCCESS);
    UNREFERENCED_PARAMETER(status);
}
