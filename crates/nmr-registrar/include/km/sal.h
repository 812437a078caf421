/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The source annotations of Windows headers (sal.h, driverspecs.h), which mean nothing to other compilers.
 */
#ifndef KM_SAL_H
#define KM_SAL_H

#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(Count)
#define _In_reads_opt_(Count)
#define _In_reads_bytes_(Count)
#define _In_reads_bytes_opt_(Count)
#define _Inout_
#define _Inout_opt_
#define _Inout_updates_(Count)
#define _Inout_updates_bytes_(Count)
#define _Out_
#define _Out_opt_
#define _Out_writes_(Count)
#define _Out_writes_opt_(Count)
#define _Out_writes_bytes_(Count)
#define _Out_writes_bytes_opt_(Count)
#define _Out_writes_bytes_to_(Count, Written)
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Deref_out_
#define _Reserved_
#define _Field_size_(Count)
#define _Field_size_bytes_(Count)
#define _Field_z_
#define _Null_terminated_
#define _Ret_maybenull_
#define _Ret_notnull_
#define _Ret_writes_maybenull_(Count)
#define _Must_inspect_result_
#define _Check_return_
#define _Success_(Condition)
#define _Return_type_success_(Condition)
#define _When_(Condition, Annotations)
#define _At_(Target, Annotations)
#define _Pre_satisfies_(Condition)
#define _Post_satisfies_(Condition)
#define _Pre_maybenull_
#define _Post_invalid_
#define _Post_maybenull_
#define _Frees_ptr_
#define _Frees_ptr_opt_
#define _Points_to_data_
#define _Literal_
#define _Use_decl_annotations_
#define _Analysis_assume_(Condition)
#define _Analysis_noreturn_
#define _Interlocked_operand_
#define _Guarded_by_(Lock)
#define _Function_class_(Name)
#define _Dispatch_type_(Type)
#define _IRQL_requires_(Level)
#define _IRQL_requires_max_(Level)
#define _IRQL_requires_min_(Level)
#define _IRQL_requires_same_
#define _IRQL_raises_(Level)
#define _IRQL_saves_
#define _IRQL_saves_global_(Kind, Parameter)
#define _IRQL_restores_
#define _IRQL_restores_global_(Kind, Parameter)
#define _Acquires_lock_(Lock)
#define _Releases_lock_(Lock)
#define _Acquires_exclusive_lock_(Lock)
#define _Releases_exclusive_lock_(Lock)
#define _Acquires_shared_lock_(Lock)
#define _Releases_shared_lock_(Lock)
#define _Requires_lock_held_(Lock)
#define _Requires_lock_not_held_(Lock)
#define _Requires_exclusive_lock_held_(Lock)
#define _Requires_shared_lock_held_(Lock)
#define _Has_lock_kind_(Kind)
#define _Kernel_clear_do_init_(Value)
#define __drv_aliasesMem
#define __drv_allocatesMem(Kind)
#define __drv_freesMem(Kind)
#define __drv_maxIRQL(Level)
#define __drv_requiresIRQL(Level)
#define __drv_sameIRQL

#endif
