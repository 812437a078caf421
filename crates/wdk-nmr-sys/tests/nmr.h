/* The Network Module Registrar's types and functions as C declares them, written from the documentation: what
   layout.rs compares the Rust declarations with where there is no WDK. */

typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef long LONG;
typedef unsigned long ULONG;
typedef long NTSTATUS;
typedef void *PVOID;
typedef void *HANDLE;

#define NTAPI __stdcall
#define STATUS_SUCCESS ((NTSTATUS)0x00000000L)
#define STATUS_PENDING ((NTSTATUS)0x00000103L)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000DL)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009AL)
#define STATUS_NOINTERFACE ((NTSTATUS)0xC00002B9L)

typedef struct _GUID {
    ULONG Data1;
    USHORT Data2;
    USHORT Data3;
    UCHAR Data4[8];
} GUID;

typedef struct _LUID {
    ULONG LowPart;
    LONG HighPart;
} LUID;

typedef GUID NPIID;
typedef const NPIID *PNPIID;

typedef enum _NPI_MODULEID_TYPE {
    MIT_GUID = 1,
    MIT_IF_LUID,
} NPI_MODULEID_TYPE;

typedef struct _NPI_MODULEID {
    USHORT Length;
    NPI_MODULEID_TYPE Type;
    union {
        GUID Guid;
        LUID IfLuid;
    };
} NPI_MODULEID;
typedef const NPI_MODULEID *PNPI_MODULEID;

typedef struct _NPI_REGISTRATION_INSTANCE {
    USHORT Version;
    USHORT Size;
    PNPIID NpiId;
    PNPI_MODULEID ModuleId;
    ULONG Number;
    const void *NpiSpecificCharacteristics;
} NPI_REGISTRATION_INSTANCE;
typedef const NPI_REGISTRATION_INSTANCE *PNPI_REGISTRATION_INSTANCE;

typedef NTSTATUS(NTAPI NPI_CLIENT_ATTACH_PROVIDER_FN)(HANDLE NmrBindingHandle, PVOID ClientContext,
                                                      PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance);
typedef NTSTATUS(NTAPI NPI_CLIENT_DETACH_PROVIDER_FN)(PVOID ClientBindingContext);
typedef void(NTAPI NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN)(PVOID ClientBindingContext);
typedef NTSTATUS(NTAPI NPI_PROVIDER_ATTACH_CLIENT_FN)(HANDLE NmrBindingHandle, PVOID ProviderContext,
                                                      PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
                                                      PVOID ClientBindingContext, const void *ClientDispatch,
                                                      PVOID *ProviderBindingContext, const void **ProviderDispatch);
typedef NTSTATUS(NTAPI NPI_PROVIDER_DETACH_CLIENT_FN)(PVOID ProviderBindingContext);
typedef void(NTAPI NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN)(PVOID ProviderBindingContext);

typedef struct _NPI_CLIENT_CHARACTERISTICS {
    USHORT Version;
    USHORT Length;
    NPI_CLIENT_ATTACH_PROVIDER_FN *ClientAttachProvider;
    NPI_CLIENT_DETACH_PROVIDER_FN *ClientDetachProvider;
    NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN *ClientCleanupBindingContext;
    NPI_REGISTRATION_INSTANCE ClientRegistrationInstance;
} NPI_CLIENT_CHARACTERISTICS;
typedef const NPI_CLIENT_CHARACTERISTICS *PNPI_CLIENT_CHARACTERISTICS;

typedef struct _NPI_PROVIDER_CHARACTERISTICS {
    USHORT Version;
    USHORT Length;
    NPI_PROVIDER_ATTACH_CLIENT_FN *ProviderAttachClient;
    NPI_PROVIDER_DETACH_CLIENT_FN *ProviderDetachClient;
    NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN *ProviderCleanupBindingContext;
    NPI_REGISTRATION_INSTANCE ProviderRegistrationInstance;
} NPI_PROVIDER_CHARACTERISTICS;
typedef const NPI_PROVIDER_CHARACTERISTICS *PNPI_PROVIDER_CHARACTERISTICS;

NTSTATUS NTAPI NmrRegisterClient(PNPI_CLIENT_CHARACTERISTICS ClientCharacteristics, PVOID ClientContext,
                                 HANDLE *NmrClientHandle);
NTSTATUS NTAPI NmrDeregisterClient(HANDLE NmrClientHandle);
NTSTATUS NTAPI NmrWaitForClientDeregisterComplete(HANDLE NmrClientHandle);
NTSTATUS NTAPI NmrClientAttachProvider(HANDLE NmrBindingHandle, PVOID ClientBindingContext, const void *ClientDispatch,
                                       PVOID *ProviderBindingContext, const void **ProviderDispatch);
void NTAPI NmrClientDetachProviderComplete(HANDLE NmrBindingHandle);
NTSTATUS NTAPI NmrRegisterProvider(PNPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics, PVOID ProviderContext,
                                   HANDLE *NmrProviderHandle);
NTSTATUS NTAPI NmrDeregisterProvider(HANDLE NmrProviderHandle);
NTSTATUS NTAPI NmrWaitForProviderDeregisterComplete(HANDLE NmrProviderHandle);
void NTAPI NmrProviderDetachClientComplete(HANDLE NmrBindingHandle);
