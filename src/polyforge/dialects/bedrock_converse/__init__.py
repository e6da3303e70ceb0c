"""Amazon Bedrock's Converse, whole and streamed. Outbound only.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and the service's own model
in botocore, where it is newer than the pages.
"""
