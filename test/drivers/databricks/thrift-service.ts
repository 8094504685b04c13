import { thrift as driverThrift } from "@databricks/sql";
import thrift from "thrift";
import Int64 from "node-int64";

// The part of Databricks' Thrift service (HiveServer2) that a statement needs. Encoding is the driver's own generated code.
const { TCLIService, TCLIService_types: types } = driverThrift;

/** `guid` must be a UUID: the driver prints it. */
function handleOf(uuid: string): InstanceType<typeof types.THandleIdentifier> {
  const guid = Buffer.from(uuid.replaceAll("-", ""), "hex");
  return new types.THandleIdentifier({ guid, secret: Buffer.alloc(16) });
}

const success = (): InstanceType<typeof types.TStatus> =>
  new types.TStatus({ statusCode: types.TStatusCode.SUCCESS_STATUS });

const finished = (): InstanceType<typeof types.TGetOperationStatusResp> =>
  new types.TGetOperationStatusResp({
    status: success(),
    operationState: types.TOperationState.FINISHED_STATE,
    hasResultSet: true,
  });

/** One column of whole numbers, called `one`. */
function metadata(): InstanceType<typeof types.TGetResultSetMetadataResp> {
  const primitiveEntry = new types.TPrimitiveTypeEntry({ type: types.TTypeId.INT_TYPE });
  const typeDesc = new types.TTypeDesc({ types: [new types.TTypeEntry({ primitiveEntry })] });
  return new types.TGetResultSetMetadataResp({
    status: success(),
    schema: new types.TTableSchema({ columns: [new types.TColumnDesc({ columnName: "one", typeDesc, position: 1 })] }),
    resultFormat: types.TSparkRowSetType.COLUMN_BASED_SET,
  });
}

function rows(values: number[]): InstanceType<typeof types.TFetchResultsResp> {
  const i32Val = new types.TI32Column({ values, nulls: Buffer.alloc(1) });
  return new types.TFetchResultsResp({
    status: success(),
    hasMoreRows: false,
    results: new types.TRowSet({
      startRowOffset: new Int64(0),
      rows: [],
      columns: [new types.TColumn({ i32Val })],
    }),
  });
}

/** The generated code asks a handler how many parameters it has, and calls it back unless there is exactly one. */
const unary =
  <Request>(answer: (request: Request) => object): ((request: Request) => object) =>
  (request) =>
    answer(request);

/**
 * Answers every statement with one row, 1. With `direct` the result comes with the statement, as warehouses do it for small
 * ones; else it is asked for, chunk by chunk, and an empty chunk is the end.
 */
export function createService(options: { readonly direct: () => boolean }): object {
  const fetched = new Map<string, number>();
  const keyOf = (handle: InstanceType<typeof types.TOperationHandle>): string =>
    handle.operationId.guid.toString("hex");
  const directResults = (): InstanceType<typeof types.TSparkDirectResults> =>
    new types.TSparkDirectResults({
      operationStatus: finished(),
      resultSetMetadata: metadata(),
      resultSet: rows([1]),
      closeOperation: new types.TCloseOperationResp({ status: success() }),
    });
  const openSession = (): object =>
    new types.TOpenSessionResp({
      status: success(),
      serverProtocolVersion: types.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V8,
      sessionHandle: new types.TSessionHandle({ sessionId: handleOf(crypto.randomUUID()) }),
    });
  const executeStatement = (): object =>
    new types.TExecuteStatementResp({
      status: success(),
      operationHandle: new types.TOperationHandle({
        operationId: handleOf(crypto.randomUUID()),
        operationType: types.TOperationType.EXECUTE_STATEMENT,
        hasResultSet: true,
      }),
      ...(options.direct() && { directResults: directResults() }),
    });
  const fetchResults = ({ operationHandle }: InstanceType<typeof types.TFetchResultsReq>): object => {
    const chunks = fetched.get(keyOf(operationHandle)) ?? 0;
    fetched.set(keyOf(operationHandle), chunks + 1);
    return rows(chunks === 0 ? [1] : []);
  };
  return {
    OpenSession: unary(openSession),
    ExecuteStatement: unary(executeStatement),
    GetOperationStatus: unary(finished),
    GetResultSetMetadata: unary(metadata),
    FetchResults: unary(fetchResults),
    CloseOperation: unary(() => new types.TCloseOperationResp({ status: success() })),
    CloseSession: unary(() => new types.TCloseSessionResp({ status: success() })),
  };
}

/** Runs one encoded call and gives the encoded answer. */
export function runCall(service: object, call: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const processor = new TCLIService.Processor(service);
    const receive = thrift.TBufferedTransport.receiver((transport) => {
      const answer = new thrift.TBufferedTransport(undefined, (encoded) => {
        if (encoded !== undefined) resolve(encoded);
      });
      processor.process(new thrift.TBinaryProtocol(transport), new thrift.TBinaryProtocol(answer));
    }, 0);
    receive(call);
  });
}

/** The name of an encoded call: after four bytes of version and type come the length of the name, and the name. */
export function nameOfCall(call: Buffer): string {
  return call.subarray(8, 8 + call.readInt32BE(4)).toString("utf8");
}
