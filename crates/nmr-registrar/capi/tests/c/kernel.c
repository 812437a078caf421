/* What include/km has of ntddk.h, in C and in C++. An argument names a mistake, which has to end the process with a
 * message. */
#include <ntddk.h>
#include <netioddk.h>
#include <wsk.h>
/* As code that lies beside the WDK's folders does. */
#include <../km/netioddk.h>

#define TAG 'tseT'
#define CHECK(condition) \
    if (!(condition)) { printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); exit(1); }

DEFINE_GUID(DeclaredElsewhere, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
C_ASSERT(sizeof(ULONG) == 4);

static void Pool(void)
{
    UCHAR *Block;

    Block = (UCHAR *)ExAllocatePool2(POOL_FLAG_NON_PAGED, 100, TAG);
    CHECK(Block && Block[99] == 0 && km_pool_blocks() == 1);
    ExFreePoolWithTag(Block, TAG);
    Block = (UCHAR *)ExAllocatePoolUninitialized(NonPagedPoolNx, 3, TAG);
    CHECK(Block && Block[0] == 0xCD);
    ExFreePool(Block);
    km_pool_fail(1);
    Block = (UCHAR *)ExAllocatePoolZero(NonPagedPoolNx, 8, TAG);
    CHECK(Block && !ExAllocatePoolZero(NonPagedPoolNx, 8, TAG));
    ExFreePoolWithTag(Block, TAG);
    CHECK(km_pool_blocks() == 0);
}

static void Locks(void)
{
    KSPIN_LOCK Spin;
    KLOCK_QUEUE_HANDLE Queue;
    EX_PUSH_LOCK Push;
    FAST_MUTEX Mutex;
    ERESOURCE Resource;
    KIRQL Old;

    KeInitializeSpinLock(&Spin);
    KeAcquireSpinLock(&Spin, &Old);
    CHECK(Old == PASSIVE_LEVEL && KeGetCurrentIrql() == DISPATCH_LEVEL);
    KeReleaseSpinLock(&Spin, Old);
    KeAcquireInStackQueuedSpinLock(&Spin, &Queue);
    CHECK(KeGetCurrentIrql() == DISPATCH_LEVEL);
    KeReleaseInStackQueuedSpinLock(&Queue);
    CHECK(KeGetCurrentIrql() == PASSIVE_LEVEL);
    ExInitializePushLock(&Push);
    ExAcquirePushLockShared(&Push);
    ExAcquirePushLockShared(&Push);
    ExReleasePushLockShared(&Push);
    ExReleasePushLockShared(&Push);
    ExAcquirePushLockExclusive(&Push);
    ExReleasePushLockExclusive(&Push);
    ExInitializeFastMutex(&Mutex);
    ExAcquireFastMutex(&Mutex);
    CHECK(KeGetCurrentIrql() == APC_LEVEL);
    ExReleaseFastMutex(&Mutex);
    CHECK(NT_SUCCESS(ExInitializeResourceLite(&Resource)));
    ExEnterCriticalRegionAndAcquireResourceExclusive(&Resource);
    CHECK(ExAcquireResourceExclusiveLite(&Resource, FALSE));
    ExReleaseResourceLite(&Resource);
    ExReleaseResourceAndLeaveCriticalRegion(&Resource);
    NT_VERIFY(NT_SUCCESS(ExDeleteResourceLite(&Resource)));
}

static void Events(void)
{
    KEVENT Event;
    LARGE_INTEGER None, Soon;

    None.QuadPart = 0;
    Soon.QuadPart = -10 * 1000;
    KeInitializeEvent(&Event, SynchronizationEvent, FALSE);
    CHECK(KeWaitForSingleObject(&Event, Executive, KernelMode, FALSE, &Soon) == STATUS_TIMEOUT);
    CHECK(KeSetEvent(&Event, IO_NO_INCREMENT, FALSE) == 0);
    CHECK(KeWaitForSingleObject(&Event, Executive, KernelMode, FALSE, NULL) == STATUS_SUCCESS);
    CHECK(KeReadStateEvent(&Event) == 0);
    KeInitializeEvent(&Event, NotificationEvent, TRUE);
    CHECK(KeWaitForSingleObject(&Event, Executive, KernelMode, FALSE, &None) == STATUS_SUCCESS);
    CHECK(KeReadStateEvent(&Event) == 1);
}

static EX_RUNDOWN_REF Rundown;
static LONG Users, RanDown;

static void Use(void *Argument)
{
    UNREFERENCED_PARAMETER(Argument);
    while (ExAcquireRundownProtection(&Rundown)) {
        CHECK(ReadNoFence(&RanDown) == 0);
        InterlockedIncrement(&Users);
        nmr_registrar_give_way();
        CHECK(ReadNoFence(&RanDown) == 0);
        ExReleaseRundownProtection(&Rundown);
        nmr_registrar_give_way();
    }
}

static void RunDown(void *Argument)
{
    UNREFERENCED_PARAMETER(Argument);
    while (ReadNoFence(&Users) < 5)
        nmr_registrar_give_way();
    ExWaitForRundownProtectionRelease(&Rundown);
    WriteNoFence(&RanDown, 1);
}

/* Three threads in the order of a seed: the waits of the shim let the others go on. */
static void Threads(void)
{
    int Index;

    ExInitializeRundownProtection(&Rundown);
    CHECK(nmr_registrar_begin() == 0);
    nmr_registrar_set_seed(3);
    for (Index = 0; Index < 2; Index++)
        CHECK(nmr_registrar_thread(Use, NULL) == 0);
    CHECK(nmr_registrar_thread(RunDown, NULL) == 0);
    CHECK(nmr_registrar_run_threads() > 5);
    CHECK(RanDown == 1 && !ExAcquireRundownProtection(&Rundown));
    ExReInitializeRundownProtection(&Rundown);
    CHECK(ExAcquireRundownProtection(&Rundown));
    ExReleaseRundownProtection(&Rundown);
    CHECK(nmr_registrar_end() == 0);
}

typedef struct {
    int Number;
    LIST_ENTRY Link;
} ITEM;

static void ListsAndStrings(void)
{
    static const WCHAR Text[] = L"Parameters";
    WCHAR Room[4];
    UNICODE_STRING Name, Same, Short = {0, sizeof Room, Room};
    LIST_ENTRY Head;
    ITEM One = {1, {NULL, NULL}}, Two = {2, {NULL, NULL}};
    PVOID Pointer = &One;
    LONG Flags = 0;

    InitializeListHead(&Head);
    InsertTailList(&Head, &Two.Link);
    InsertHeadList(&Head, &One.Link);
    CHECK(CONTAINING_RECORD(Head.Flink, ITEM, Link)->Number == 1);
    CHECK(RemoveTailList(&Head) == &Two.Link && RemoveHeadList(&Head) == &One.Link && IsListEmpty(&Head));
    RtlInitUnicodeString(&Name, Text);
    RtlInitUnicodeString(&Same, L"PARAMETERS");
    CHECK(Name.Length == 10 * sizeof(WCHAR) && Name.MaximumLength == 11 * sizeof(WCHAR));
    CHECK(RtlEqualUnicodeString(&Name, &Same, TRUE) && !RtlEqualUnicodeString(&Name, &Same, FALSE));
    RtlCopyUnicodeString(&Short, &Name);
    CHECK(Short.Length == sizeof Room && Room[3] == L'a');
    CHECK(RtlCompareMemory("abc", "abd", 3) == 2 && RtlEqualMemory("abc", "abc", 3));
    CHECK(InterlockedExchangePointer(&Pointer, &Two) == &One);
    CHECK(InterlockedCompareExchangePointer(&Pointer, NULL, &One) == &Two && Pointer == &Two);
    CHECK(InterlockedOr(&Flags, 4) == 0 && InterlockedAdd(&Flags, 2) == 6);
    CHECK(InterlockedCompareExchange(&Flags, 0, 6) == 6 && Flags == 0);
}

static void ModuleIds(void)
{
    NPI_MODULEID Left, Right;

    /* Only the member that the type names counts. */
    RtlFillMemory(&Left, sizeof Left, 1);
    RtlFillMemory(&Right, sizeof Right, 2);
    Left.Type = Right.Type = MIT_IF_LUID;
    CHECK(!NmrIsEqualNpiModuleId(&Left, &Right));
    Right.IfLuid = Left.IfLuid;
    CHECK(NmrIsEqualNpiModuleId(&Left, &Right));
    Left.Type = Right.Type = MIT_GUID;
    CHECK(!NmrIsEqualNpiModuleId(&Left, &Right));
    Right.Guid = Left.Guid;
    CHECK(NmrIsEqualNpiModuleId(&Left, &Right));
    Right.Guid.Data4[7]++;
    CHECK(!NmrIsEqualNpiModuleId(&Left, &Right));
    Right.Guid = Left.Guid;
    Right.Type = MIT_IF_LUID;
    CHECK(!NmrIsEqualNpiModuleId(&Left, &Right));
}

static NTSTATUS Note(PCWSTR Name, ULONG Type, PVOID Data, ULONG Length, PVOID Context, PVOID EntryContext)
{
    UNREFERENCED_PARAMETER(Name);
    UNREFERENCED_PARAMETER(EntryContext);
    CHECK(Type == REG_BINARY && Length == sizeof(GUID));
    RtlCopyMemory(Context, Data, Length);
    return STATUS_SUCCESS;
}

static DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DriverUnload;
static GUID Read;

static NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    static WCHAR Parameters[] = L"Parameters", ModuleId[] = L"ModuleId";
    RTL_QUERY_REGISTRY_TABLE Table[3];

    PAGED_CODE();
    RtlZeroMemory(Table, sizeof Table);
    Table[0].Flags = RTL_QUERY_REGISTRY_SUBKEY;
    Table[0].Name = Parameters;
    Table[1].QueryRoutine = Note;
    Table[1].Flags = RTL_QUERY_REGISTRY_REQUIRED;
    Table[1].Name = ModuleId;
    DriverObject->DriverUnload = DriverUnload;
    return RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, Table, &Read, NULL);
}

static VOID DriverUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
}

static void Driver(void)
{
    DRIVER_OBJECT Object;
    UNICODE_STRING Path;
    GUID Made;
    KM_REGISTRY_VALUE Value = {L"Parameters", L"ModuleId", REG_BINARY, &Made, sizeof Made};

    RtlZeroMemory(&Object, sizeof Object);
    RtlInitUnicodeString(&Path, L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\test");
    CHECK(NT_SUCCESS(ExUuidCreate(&Made)));
    CHECK(DriverEntry(&Object, &Path) == STATUS_OBJECT_NAME_NOT_FOUND);
    km_registry_set(&Value, 1);
    CHECK(DriverEntry(&Object, &Path) == STATUS_SUCCESS);
#ifdef __cplusplus
    CHECK(IsEqualGUID(Made, Read));
#else
    CHECK(IsEqualGUID(&Made, &Read));
#endif
    Object.DriverUnload(&Object);
}

static void Mistake(const char *Name)
{
    KSPIN_LOCK Spin = 0;
    KEVENT Event;
    EX_RUNDOWN_REF Reference;

    KeInitializeEvent(&Event, NotificationEvent, TRUE);
    ExInitializeRundownProtection(&Reference);
    if (!strcmp(Name, "other-tag"))
        ExFreePoolWithTag(ExAllocatePool2(POOL_FLAG_NON_PAGED, 1, TAG), 'rehO');
    if (!strcmp(Name, "paged-at-dispatch")) {
        KfRaiseIrql(DISPATCH_LEVEL);
        ExAllocatePool2(POOL_FLAG_PAGED, 1, TAG);
    }
    if (!strcmp(Name, "wait-at-dispatch")) {
        KfRaiseIrql(DISPATCH_LEVEL);
        KeWaitForSingleObject(&Event, Executive, KernelMode, FALSE, NULL);
    }
    if (!strcmp(Name, "free-lock"))
        KeReleaseSpinLock(&Spin, PASSIVE_LEVEL);
    if (!strcmp(Name, "free-rundown"))
        ExReleaseRundownProtection(&Reference);
    if (!strcmp(Name, "assertion"))
        NT_ASSERT(Spin == 7);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        Mistake(argv[1]);
        return 0;
    }
    Pool();
    Locks();
    Events();
    Threads();
    ListsAndStrings();
    ModuleIds();
    Driver();
    return 0;
}
