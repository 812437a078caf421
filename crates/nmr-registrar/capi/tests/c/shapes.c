/* NMR code in the shapes that other drivers have, in C and in C++: a program that was compiled to a driver, whose
 * module identifier comes from the registry and whose functions are in the registration instance; and modules of a test
 * in user mode, whose detaches end when the test says so. With an argument, memory is used after its cleanup. */
#include <ntddk.h>
#include <netioddk.h>

#include "nmr_registrar.h"

#define TAG 'pahS'
#define CHECK(condition) \
    if (!(condition)) { printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); exit(1); }

static const NPIID ProgramNpi = {0x20B1A5D0, 0x1F02, 0x4B7A, {0x8E, 0x11, 0x55, 0x66, 0x01, 0x02, 0x03, 0x04}};

/* What the client puts into its registration instance: its size, and functions behind it. */
typedef struct _PROGRAM_TABLE {
    SIZE_T Size;
    ULONG (*Run)(ULONG Argument);
} PROGRAM_TABLE;

static ULONG Double(ULONG Argument)
{
    return 2 * Argument;
}

static const PROGRAM_TABLE Program = {sizeof(PROGRAM_TABLE), Double};

/* The driver. */

static NPI_MODULEID ClientId = {sizeof(NPI_MODULEID), MIT_GUID, {{0, 0, 0, {0}}}};
static HANDLE ClientHandle;
static PVOID ProviderContext;
static const VOID *ProviderDispatch;

static DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DriverUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN AttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DetachProvider;

static NTSTATUS NTAPI AttachProvider(HANDLE NmrBindingHandle, PVOID ClientContext,
                                     PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);
    /* No context, no table: the provider finds all in the registration instance. */
    return NmrClientAttachProvider(NmrBindingHandle, NULL, NULL, &ProviderContext, &ProviderDispatch);
}

static NTSTATUS NTAPI DetachProvider(PVOID ClientBindingContext)
{
    CHECK(ClientBindingContext == NULL);
    return STATUS_SUCCESS;
}

/* No cleanup callback, since there is no context. */
static const NPI_CLIENT_CHARACTERISTICS Client = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AttachProvider,
    DetachProvider,
    NULL,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ProgramNpi, &ClientId, 0, &Program}};

static RTL_QUERY_REGISTRY_ROUTINE ReadModuleId;

static NTSTATUS NTAPI ReadModuleId(PCWSTR Name, ULONG Type, PVOID Data, ULONG Length, PVOID Context, PVOID Entry)
{
    UNREFERENCED_PARAMETER(Name);
    UNREFERENCED_PARAMETER(Entry);
    if (Type != REG_BINARY || Length != sizeof(GUID))
        return STATUS_INVALID_PARAMETER;
    RtlCopyMemory(Context, Data, Length);
    return STATUS_SUCCESS;
}

static NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    static WCHAR Parameters[] = L"Parameters", Name[] = L"NpiModuleId";
    RTL_QUERY_REGISTRY_TABLE Table[3];
    NTSTATUS Status;

    RtlZeroMemory(Table, sizeof Table);
    Table[0].Flags = RTL_QUERY_REGISTRY_SUBKEY;
    Table[0].Name = Parameters;
    Table[1].QueryRoutine = ReadModuleId;
    Table[1].Flags = RTL_QUERY_REGISTRY_REQUIRED;
    Table[1].Name = Name;
    Status = RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, Table, &ClientId.Guid, NULL);
    if (!NT_SUCCESS(Status))
        return Status;
    DriverObject->DriverUnload = DriverUnload;
    return NmrRegisterClient(&Client, NULL, &ClientHandle);
}

static VOID DriverUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    if (NmrDeregisterClient(ClientHandle) == STATUS_PENDING)
        CHECK(NmrWaitForClientDeregisterComplete(ClientHandle) == STATUS_SUCCESS);
}

/* The modules of a test: what happened to each binding is noted, and its detach ends when the test says so. */

typedef struct _BINDING {
    LIST_ENTRY Link;
    HANDLE NmrBindingHandle;
    const PROGRAM_TABLE *Program;
    BOOLEAN Detaching;
} BINDING;

static LIST_ENTRY Bindings;
static KSPIN_LOCK BindingsLock;
static BINDING *Freed;

static NPI_PROVIDER_ATTACH_CLIENT_FN AttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN DetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CleanupBinding;

static NTSTATUS NTAPI AttachClient(HANDLE NmrBindingHandle, PVOID Context, PNPI_REGISTRATION_INSTANCE Instance,
                                   PVOID ClientContext, const VOID *ClientDispatch, PVOID *BindingContext,
                                   const VOID **Dispatch)
{
    const PROGRAM_TABLE *Table = (const PROGRAM_TABLE *)Instance->NpiSpecificCharacteristics;
    BINDING *Binding;
    KIRQL Old;

    UNREFERENCED_PARAMETER(Context);
    CHECK(ClientContext == NULL && ClientDispatch == NULL);
    /* Compiled against an older header, the table is shorter. */
    if (Table == NULL || Table->Size < FIELD_OFFSET(PROGRAM_TABLE, Run) + sizeof(Table->Run))
        return STATUS_INVALID_PARAMETER;
    Binding = (BINDING *)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TAG);
    if (Binding == NULL)
        return STATUS_NO_MEMORY;
    Binding->NmrBindingHandle = NmrBindingHandle;
    Binding->Program = Table;
    KeAcquireSpinLock(&BindingsLock, &Old);
    InsertTailList(&Bindings, &Binding->Link);
    KeReleaseSpinLock(&BindingsLock, Old);
    *BindingContext = Binding;
    *Dispatch = NULL;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI DetachClient(PVOID BindingContext)
{
    ((BINDING *)BindingContext)->Detaching = TRUE;
    return STATUS_PENDING;
}

static VOID NTAPI CleanupBinding(PVOID BindingContext)
{
    BINDING *Binding = (BINDING *)BindingContext;
    KIRQL Old;

    KeAcquireSpinLock(&BindingsLock, &Old);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&BindingsLock, Old);
    ExFreePoolWithTag(Binding, TAG);
    Freed = Binding;
}

static const NPI_MODULEID ProviderId = {sizeof(NPI_MODULEID), MIT_GUID, {{1, 2, 3, {4}}}};
static const NPI_PROVIDER_CHARACTERISTICS Provider = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    AttachClient,
    DetachClient,
    CleanupBinding,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ProgramNpi, &ProviderId, 0, NULL}};

int main(int argc, char **argv)
{
    GUID Id = {7, 8, 9, {10}};
    KM_REGISTRY_VALUE Value = {L"Parameters", L"NpiModuleId", REG_BINARY, &Id, sizeof Id};
    DRIVER_OBJECT Driver;
    UNICODE_STRING Path;
    HANDLE ProviderHandle;
    BINDING *Binding;

    UNREFERENCED_PARAMETER(argv);
    RtlZeroMemory(&Driver, sizeof Driver);
    RtlInitUnicodeString(&Path, L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\program");
    InitializeListHead(&Bindings);
    KeInitializeSpinLock(&BindingsLock);
    CHECK(nmr_registrar_begin() == 0);
    nmr_registrar_adversary();

    CHECK(DriverEntry(&Driver, &Path) == STATUS_OBJECT_NAME_NOT_FOUND);
    km_registry_set(&Value, 1);
    CHECK(NmrRegisterProvider(&Provider, NULL, &ProviderHandle) == STATUS_SUCCESS);
    km_pool_fail(0);
    CHECK(DriverEntry(&Driver, &Path) == STATUS_SUCCESS && IsListEmpty(&Bindings));
    Driver.DriverUnload(&Driver);

    CHECK(DriverEntry(&Driver, &Path) == STATUS_SUCCESS && !IsListEmpty(&Bindings));
    Binding = CONTAINING_RECORD(Bindings.Flink, BINDING, Link);
    CHECK(Binding->Program->Run(21) == 42);
    CHECK(NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING);
    CHECK(Binding->Detaching && !IsListEmpty(&Bindings));
    NmrProviderDetachClientComplete(Binding->NmrBindingHandle);
    CHECK(NmrWaitForProviderDeregisterComplete(ProviderHandle) == STATUS_SUCCESS);
    CHECK(IsListEmpty(&Bindings) && Freed == Binding);
    Driver.DriverUnload(&Driver);
    CHECK(km_pool_blocks() == 0);
    if (argc > 1)
        Freed->Detaching = FALSE;
    /* 0: no violation, and nothing left behind. */
    CHECK(nmr_registrar_end() == 0);
    return 0;
}
